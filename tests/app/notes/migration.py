"""notes

Revision ID: notes
Revises: the newest, which the test writes in the place of HEAD
"""

import sqlalchemy as sa
from alembic import op

revision = "notes"
down_revision = "HEAD"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notes",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("id", "text", "tenant")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_index("ix_notes_tenant", "notes", ["tenant", "id"])


def downgrade() -> None:
    op.drop_table("notes")
