"""tenants

Everything there is belongs to the tenant "default", whose keys are good for everything. Fingerprints begin with the
tenant: those of models and data sets, to which certifications refer, stay unique without another constraint, for which
SQLite would make these tables anew. Nothing refers to the ledger and the answers: tenants are in their primary keys.

Down: the ledger and the answers of other tenants are forgotten, and all other rows are everybody's again.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

LISTED = ("certifications", "datasets", "keys", "models")
FINGERPRINTED = [
    sa.table(name, *(sa.column(own, sa.String) for own in ("tenant", "fingerprint"))) for name in ("datasets", "models")
]
KNOWN = {"ledger": ["model", "input", "noise", "stage", "samples"], "answers": ["model", "input", "question"]}


def upgrade() -> None:
    for table in (*LISTED, "uploads", *KNOWN):
        op.add_column(table, sa.Column("tenant", sa.String(), nullable=False, server_default="default"))
    for table in LISTED:
        op.create_index(f"ix_{table}_tenant", table, ["tenant", "id"])
    everything = "read submit manage admin"
    op.add_column("keys", sa.Column("scopes", sa.String(), nullable=False, server_default=everything))
    for table in FINGERPRINTED:
        op.execute(table.update().values(fingerprint="default:" + table.c.fingerprint))
    for table, key in KNOWN.items():
        _primary_key(table, ["tenant", *key])


def downgrade() -> None:
    for table, key in KNOWN.items():
        op.execute(sa.table(table).delete().where(sa.column("tenant") != "default"))
        _primary_key(table, key)
    for table in FINGERPRINTED:
        without = sa.func.substr(table.c.fingerprint, len("default:") + 1)
        op.execute(table.update().where(table.c.tenant == "default").values(fingerprint=without))
    op.drop_column("keys", "scopes")
    for table in LISTED:
        op.drop_index(f"ix_{table}_tenant", table)
    for table in (*LISTED, "uploads", *KNOWN):
        op.drop_column(table, "tenant")


def _primary_key(table: str, columns: list[str]) -> None:
    with op.batch_alter_table(table) as batch:
        batch.drop_constraint(f"pk_{table}", type_="primary")
        batch.create_primary_key(f"pk_{table}", columns)
