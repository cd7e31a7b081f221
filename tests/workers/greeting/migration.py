"""greetings

Revision ID: greetings
Revises: the newest, which the test writes in the place of HEAD
"""

import sqlalchemy as sa
from alembic import op

revision = "greetings"
down_revision = "HEAD"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "greetings",
        *(sa.Column(name, sa.String(), nullable=True) for name in ("words", "worker")),
        *(sa.Column(name, sa.JSON(), nullable=True) for name in ("problem", "cause")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("fence", "attempts")),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_greetings")),
    )


def downgrade() -> None:
    op.drop_table("greetings")
