"""Keyset pages: newest first by id (ids sort by time), so a page costs the same however deep it lies."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.tables import Certification, Dataset, Key, Model

Row = TypeVar("Row", Model, Dataset, Certification, Key)


def newest(session: Session, table: type[Row], *, before: str | None, limit: int) -> tuple[Sequence[Row], str | None]:
    """Up to ``limit`` rows older than the id ``before``, and the cursor of the next page (None: this is the last)."""
    query = select(table).order_by(table.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(table.id < before)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
