from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from models.base import Json


class Leased:
    """Columns of a row that a worker takes to work on.

    A claim raises ``fence`` by one and every later write must match it, so a worker that was thought dead can't
    write over its successor. ``attempts`` counts claims since the last progress. ``cause`` is how the last attempt that
    was lost ended, as a problem document.
    """

    lease_expires_at: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    cause: Mapped[Json | None]
