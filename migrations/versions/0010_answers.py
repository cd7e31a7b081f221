"""answers

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answers",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("certification_id", sa.String(), nullable=False),
        sa.Column("prediction", sa.Integer(), nullable=True),
        sa.Column("radius", sa.Double(), nullable=True),
        sa.Column("abstained", sa.Boolean(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("attack", JSON, nullable=True),
        sa.PrimaryKeyConstraint("model", "input", "question", name=op.f("pk_answers")),
    )


def downgrade() -> None:
    op.drop_table("answers")
