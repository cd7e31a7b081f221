"""denoisers

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("certifications") as table:
        table.add_column(sa.Column("denoiser_model_id", sa.String(), nullable=True))
        table.create_foreign_key(
            op.f("fk_certifications_denoiser_model_id_models"), "models", ["denoiser_model_id"], ["id"]
        )


def downgrade() -> None:
    with op.batch_alter_table("certifications") as table:
        table.drop_constraint(op.f("fk_certifications_denoiser_model_id_models"), type_="foreignkey")
        table.drop_column("denoiser_model_id")
