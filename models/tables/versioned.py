import secrets
from typing import Any

from sqlalchemy import BigInteger, event
from sqlalchemy.orm import Mapped, Mapper, mapped_column


class Versioned:
    """A row that says whether what is shown of it may have changed: with each change to it ``version`` is another one.

    An UPDATE in bulk has to say so itself, where it changes what is shown; leases are not.
    """

    version: Mapped[int] = mapped_column(BigInteger(), default=1, server_default="1")


def new_version() -> int:
    """One that no row had before: drawn, since of two who count up what both have read one would not be seen, and what
    the database counts is written row by row."""
    return secrets.randbits(62)


@event.listens_for(Versioned, "before_update", propagate=True)
def _change(_mapper: Mapper[Any], _connection: object, row: Versioned) -> None:
    row.version = new_version()
