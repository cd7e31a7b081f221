"""how the last lost attempt ended

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

LEASED = ("models", "datasets", "shards")


def upgrade() -> None:
    for table in LEASED:
        op.add_column(table, sa.Column("cause", JSON, nullable=True))
    op.drop_index("ix_shards_certification_id", "shards")
    op.create_index("ix_shards_certification_id", "shards", ["certification_id", "state"])


def downgrade() -> None:
    op.drop_index("ix_shards_certification_id", "shards")
    op.create_index("ix_shards_certification_id", "shards", ["certification_id"])
    for table in LEASED:
        op.drop_column(table, "cause")
