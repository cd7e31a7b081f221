"""What a summary needs of results is added up shard by shard.

Of certifications that are under way the sum is not of all results: then it is made of all of them when they end.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("certifications", sa.Column("totals", JSON, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("certifications", "totals")
