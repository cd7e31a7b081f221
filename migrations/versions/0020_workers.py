"""Workers say that they are there.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("name", "host", "version", "queues")),
        *(
            sa.Column(name, sa.DateTime(timezone=True), nullable=False)
            for name in ("started_at", "seen_at", "expires_at")
        ),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("memory_total", sa.BigInteger(), nullable=True),
        sa.Column("samples_per_second", sa.Double(), nullable=True),
        sa.Column("work", JSON, nullable=True),
        sa.Column("figures", JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )


def downgrade() -> None:
    op.drop_table("workers")
