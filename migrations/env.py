"""Alembic's entry: the database of the settings, the tables of models/."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection

from models.base import Base, StateColumn, UtcDateTime
from models.database import Database
from models.settings import Settings
from models.tables import Certification  # noqa: F401 (registers all tables)


def plain_type(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write a column type of ours as the plain one it is kept as: a migration must not change when our code does."""
    if kind == "type" and isinstance(item, (UtcDateTime, StateColumn)):
        return f"sa.{item.impl!r}"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
        compare_type=True,
        render_item=plain_type,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    database = Database(Settings().database)
    with database.engine.connect() as connection:
        migrate(connection)
        connection.commit()
    database.close()
