"""sharding is work, and each shard counts its own progress

Revision ID: 0014
Revises: 0013
"""

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

JOBS = sa.table(
    "certifications",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "step", "shard_inputs", "unsharded")),
    sa.column("done_by_ended", sa.BigInteger),
    sa.column("id", sa.String),
    sa.column("state", sa.String),
)
SHARDS = sa.table(
    "shards",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "fence", "attempts")),
    sa.column("done", sa.BigInteger),
    *(sa.column(name, sa.String) for name in ("id", "certification_id", "state")),
)
OPEN = ("queued", "running")


def upgrade() -> None:
    # SQLite would make these tables anew in a batch, and with the old ones drop the rows that refer to theirs.
    op.add_column("shards", sa.Column("done", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("ALTER TABLE certifications RENAME COLUMN done TO done_by_ended")  # and, once, by those that ran then
    for name, default in (("shard_inputs", "1"), ("unsharded", "0"), ("fence", "0"), ("attempts", "0")):
        op.add_column("certifications", sa.Column(name, sa.Integer(), nullable=False, server_default=default))
    op.add_column("certifications", sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("certifications", sa.Column("worker", sa.String(), nullable=True))
    op.add_column("certifications", sa.Column("cause", JSON, nullable=True))
    op.drop_index("ix_certifications_state", "certifications")
    op.create_index("ix_certifications_state", "certifications", ["state", "lease_expires_at"])


def downgrade() -> None:
    connection = op.get_bind()
    for job in connection.execute(sa.select(JOBS).where(JOBS.c.state.in_(OPEN))).all():
        of_job = sa.select(sa.func.sum(SHARDS.c.done)).where(SHARDS.c.certification_id == job.id)
        done = job.done_by_ended + (connection.scalar(of_job.where(SHARDS.c.state == "running")) or 0)
        connection.execute(JOBS.update().where(JOBS.c.id == job.id).values(done_by_ended=done))
        inputs = len(range(job.start, job.stop, job.step))
        for start in range(inputs - job.unsharded, inputs, job.shard_inputs):
            row = {"start": start, "stop": min(start + job.shard_inputs, inputs), "fence": 0, "attempts": 0, "done": 0}
            row |= {"id": f"shd_{uuid.uuid4().hex}", "certification_id": job.id, "state": "queued"}
            connection.execute(SHARDS.insert().values(**row))
    op.drop_index("ix_certifications_state", "certifications")
    op.create_index("ix_certifications_state", "certifications", ["state"])
    for name in ("shard_inputs", "unsharded", "fence", "attempts", "lease_expires_at", "worker", "cause"):
        op.drop_column("certifications", name)
    op.execute("ALTER TABLE certifications RENAME COLUMN done_by_ended TO done")
    op.drop_column("shards", "done")
