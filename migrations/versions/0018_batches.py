"""Certifications may belong to a batch.

Down: they stay, and which were asked for together is forgotten.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_batches_fingerprint")),
    )
    op.create_index("ix_batches_tenant", "batches", ["tenant", "id"])
    # Both databases read this alike. In a batch SQLite would make the table anew, and with the old one drop the rows
    # that refer to its own.
    refers = "CONSTRAINT fk_certifications_batch_id_batches REFERENCES batches (id)"
    op.execute(f"ALTER TABLE certifications ADD COLUMN batch_id VARCHAR {refers}")
    op.add_column("certifications", sa.Column("batch_index", sa.Integer(), nullable=True))
    op.create_index("ix_certifications_batch_id", "certifications", ["batch_id", "batch_index"])


def downgrade() -> None:
    op.drop_index("ix_certifications_batch_id", "certifications")
    op.drop_column("certifications", "batch_index")
    op.drop_column("certifications", "batch_id")
    op.drop_table("batches")
