"""ledger

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("noise", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("samples", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.PrimaryKeyConstraint("model", "input", "noise", "stage", "samples", name=op.f("pk_ledger")),
    )


def downgrade() -> None:
    op.drop_table("ledger")
