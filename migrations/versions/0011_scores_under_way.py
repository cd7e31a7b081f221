"""mean scores under way are counted anew

Mean scores are of the logits before any end that keeps their order; they were of those before a softmax alone. A job
that was amid an input would have merged the two, which are scores of two classifiers.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

JOBS = sa.table(
    "certifications",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "step")),
    *(sa.column(name, sa.BigInteger) for name in ("done", "total")),
    sa.column("id", sa.String),
    sa.column("method", JSON),
)
CHUNKS = sa.table("chunks", sa.column("certification_id", sa.String))
RESULTS = sa.table("results", sa.column("certification_id", sa.String))


def upgrade() -> None:
    connection = op.get_bind()
    amid = sa.select(JOBS).where(
        JOBS.c.method["scores"].as_string() == "soft", JOBS.c.id.in_(sa.select(CHUNKS.c.certification_id))
    )
    for job in connection.execute(amid).all():
        connection.execute(CHUNKS.delete().where(CHUNKS.c.certification_id == job.id))
        of_job = sa.select(sa.func.count()).select_from(RESULTS).where(RESULTS.c.certification_id == job.id)
        cost = job.total // len(range(job.start, job.stop, job.step))
        done = cost * (connection.scalar(of_job) or 0)
        connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(done=done))


def downgrade() -> None:
    pass
