"""Who is next is found in the database; paces; parts of an input; deaths of a runner.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
OPEN_ROWS = "state IN ('queued', 'running')"
UNCUT, DUE = sa.text(f"unsharded > 0 AND {OPEN_ROWS}"), sa.text(f"due_at IS NOT NULL AND {OPEN_ROWS}")
RANGES = sa.table(
    "certifications",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "step", "unsharded")),
    *(sa.column(name, sa.String) for name in ("id", "state")),
)
SHARDS = sa.table(
    "shards",
    *(sa.column(name, sa.Integer) for name in ("start", "stop", "fence")),
    *(sa.column(name, sa.String) for name in ("certification_id", "state")),
)


def upgrade() -> None:
    # SQLite would make these tables anew in a batch, and with the old ones drop the rows that refer to theirs.
    op.add_column("certifications", sa.Column("rank", sa.Integer(), nullable=False, server_default="14"))
    op.add_column("certifications", sa.Column("key_id", sa.String(), nullable=False, server_default=""))
    op.add_column("certifications", sa.Column("served_at", MOMENT, nullable=True))
    op.add_column("certifications", sa.Column("due_at", MOMENT, nullable=True))
    op.add_column("shards", sa.Column("first_chunk", sa.Integer(), nullable=True))
    op.add_column("shards", sa.Column("stop_chunk", sa.Integer(), nullable=True))
    op.add_column("shards", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE certifications SET unsharded = 0 WHERE state NOT IN ('queued', 'running')")
    _uncut()
    op.execute(
        "UPDATE certifications SET due_at = created_at WHERE state IN ('queued', 'running') AND unsharded = 0 AND NOT "
        "EXISTS (SELECT 1 FROM shards WHERE certification_id = certifications.id AND state IN ('queued', 'running'))"
    )
    op.add_column("certifications", sa.Column("apart", sa.String(), nullable=True))
    op.create_index(
        "ix_certifications_turn", "certifications", ["rank", "key_id", "id"], postgresql_where=UNCUT, sqlite_where=UNCUT
    )
    op.create_index("ix_certifications_served", "certifications", ["key_id", "served_at"])
    op.create_index("ix_certifications_due", "certifications", ["due_at"], postgresql_where=DUE, sqlite_where=DUE)
    op.create_table(
        "paces",
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("denoiser_model_id", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("per_second", sa.Double(), nullable=False),
        sa.Column("measured_at", MOMENT, nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_paces_model_id_models"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("model_id", "denoiser_model_id", "method", "device", name=op.f("pk_paces")),
    )


def downgrade() -> None:
    # Parts of an input are one shard again: what was counted of it is taken up by that.
    op.execute(
        "UPDATE certifications SET done_by_ended = done_by_ended + (SELECT coalesce(sum(s.done), 0) FROM shards AS s "
        "WHERE s.certification_id = certifications.id AND s.first_chunk IS NOT NULL AND s.state IN ('queued', "
        "'running') AND EXISTS (SELECT 1 FROM shards AS o WHERE o.certification_id = s.certification_id AND o.start = "
        "s.start AND o.first_chunk IS NOT NULL AND o.state IN ('queued', 'running') AND o.id < s.id)) WHERE state = "
        "'running'"
    )
    op.execute(
        "DELETE FROM shards WHERE first_chunk IS NOT NULL AND state IN ('queued', 'running') AND id NOT IN (SELECT "
        "min(id) FROM shards WHERE first_chunk IS NOT NULL AND state IN ('queued', 'running') GROUP BY "
        "certification_id, start)"
    )
    op.drop_table("paces")
    for name in ("turn", "served", "due"):
        op.drop_index(f"ix_certifications_{name}", "certifications")
    for name in ("rank", "key_id", "served_at", "due_at", "apart"):
        op.drop_column("certifications", name)
    for name in ("first_chunk", "stop_chunk", "deaths"):
        op.drop_column("shards", name)


def _uncut() -> None:
    """What was cut beforehand, and nobody has begun, is cut when somebody takes it."""
    connection = op.get_bind()
    begun = sa.or_(SHARDS.c.fence > 0, SHARDS.c.state != "queued")
    for job in connection.execute(sa.select(RANGES).where(RANGES.c.state.in_(("queued", "running")))).all():
        of_job = SHARDS.c.certification_id == job.id
        last = connection.scalar(sa.select(sa.func.max(SHARDS.c.stop)).where(of_job, begun)) or 0
        connection.execute(SHARDS.delete().where(of_job, SHARDS.c.start >= last))
        left = len(range(job.start, job.stop, job.step)) - last
        connection.execute(RANGES.update().where(RANGES.c.id == job.id).values(unsharded=left))
