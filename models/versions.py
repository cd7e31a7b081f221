"""Which versions of the code may work on one database at the same time, as in a rolling restart.

Migrations come first: code works on a database that is at its own newest migration, or at a later one that bears it. A
migration is such that older code goes on (a new column has a default in the database, nothing is renamed or removed, a
plan has no new field), or it raises ``OLDEST``; the database keeps that as a fact, for code that was written before.
"""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select

from models.tables import Fact

ROOT = Path(__file__).parent.parent

OLDEST = "0017"
"""The newest migration of the oldest code that may still run beside this one."""
FACT = "oldest-code"


class OtherVersion(ValueError):
    """The database is not one that this code may work on; the message says which of the two is to be replaced."""


@cache
def newest() -> str:
    """The newest migration that this code has."""
    head = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml")).get_current_head()
    assert head is not None
    return head


def later(connection: Connection) -> bool:
    """Whether the database is at a migration that this code does not have."""
    return (MigrationContext.configure(connection).get_current_revision() or "") > newest()


def check(connection: Connection) -> None:
    """Raise ``OtherVersion`` unless this code may work on the database."""
    at, own = MigrationContext.configure(connection).get_current_revision(), newest()
    if at == own:
        return
    if at is None or at < own:
        raise OtherVersion(
            f"the database is at migration {at or 'none'}, and this code needs {own}: run python -m models.bootstrap"
        )
    oldest = connection.scalar(select(Fact.value).where(Fact.name == FACT))
    if oldest is None or own < oldest:
        raise OtherVersion(
            f"the database is at migration {at}, of a later version of radii, and takes code from migration "
            f"{oldest or at} on; this one has {own}: replace it"
        )


def compatible(connection: Connection) -> bool:
    """Whether this code may work on the database."""
    try:
        check(connection)
    except OtherVersion:
        return False
    return True
