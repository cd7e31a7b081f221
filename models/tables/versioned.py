from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, mapped_column


class Versioned:
    """A row that says whether what is shown of it may have changed: each change to it counts ``version`` up.

    An UPDATE in bulk has to do so itself, where it changes what is shown; leases are not.
    """

    version: Mapped[int] = mapped_column(default=1, server_default="1")


@event.listens_for(Versioned, "before_update", propagate=True)
def _count_up(_mapper: Mapper[Any], _connection: object, row: Versioned) -> None:
    row.version = type(row).version + 1  # in the database: whoever changes it at the same time counts, too
