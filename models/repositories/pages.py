"""Keyset pages: newest first by id (ids sort by time), so a page costs the same however deep it lies."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select

from models.tables import Batch, Certification, Dataset, Key, Model
from models.tenant_session import TenantSession

Row = TypeVar("Row", Model, Dataset, Certification, Batch, Key)


def newest(
    session: TenantSession, table: type[Row], *, before: str | None, limit: int
) -> tuple[Sequence[Row], str | None]:
    """Up to ``limit`` of the tenant's rows older than the id ``before``, and the cursor of the next page (None: this
    is the last)."""
    query = select(table).order_by(table.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(table.id < before)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
