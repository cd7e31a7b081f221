"""What may be nobody's blob, and indexes by which what needs a row is found.

Down: what was deleted and not yet removed is removed at once, since nobody would know later that it is gone.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_uploads_tenant": ("uploads", ["tenant", "id"]),
    "ix_models_upload_id": ("models", ["upload_id"]),
    "ix_datasets_upload_id": ("datasets", ["upload_id"]),
    "ix_certifications_denoiser_model_id": ("certifications", ["denoiser_model_id"]),
}
GONE = ""  # whose a deleted row is


def upgrade() -> None:
    op.create_table(
        "loose_blobs",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_loose_blobs")),
    )
    for name, (table, columns) in INDEXES.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    for table in ("certifications", "models", "datasets", "uploads"):  # what needs another before it
        rows = sa.table(table, sa.column("tenant", sa.String))
        op.execute(rows.delete().where(rows.c.tenant == GONE))
    for name, (table, _) in INDEXES.items():
        op.drop_index(name, table)
    op.drop_table("loose_blobs")
