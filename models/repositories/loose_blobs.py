"""Blobs that may be nobody's: announced before they are written, let go of by deleted rows, collected.

Who writes a blob announces it in a transaction of its own, puts it into the store after that, and then commits the row
that names it. Who collects holds the announcement's row, and sees in the same transaction that it is older than
``GRACE`` and that no row names the blob, while it removes the blob. So either the writer's announcement comes first,
and the blob stays; or it waits until the blob is gone, and what is then written stays.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models.base import now
from models.database import insert, parts
from models.tables import Dataset, LooseBlob, Upload

GRACE = timedelta(minutes=10)
"""From the announcement of a blob to the row that names it: seconds. Who may have to wait for longer announces it again
in the transaction of that row, and looks whether it is still there."""
LET_GO = datetime(1970, 1, 1, tzinfo=UTC)  # since when nobody needs it whom an announcement would still protect
NAMES: tuple[tuple[Any, Any], ...] = (
    (Upload, Upload.sha256),
    (Dataset, Dataset.summary["x_blob"].as_string()),
    (Dataset, Dataset.summary["y_blob"].as_string()),
)
"""The tables whose rows name blobs, whichever tenant's, and where. A blob that no row here names is collected."""


def announce(session: Session, sha256: str) -> None:
    """It is about to be written. Commit this before it is in the store, and name it by a row within ``GRACE``."""
    new = insert(session, LooseBlob).values(sha256=sha256, since=now())
    session.execute(new.on_conflict_do_update(index_elements=["sha256"], set_={"since": new.excluded.since}))


def let_go(session: Session, digests: Iterable[str], since: datetime = LET_GO) -> None:
    """A row that named these is gone, or was never there. One that is announced is left to its announcer."""
    rows = [{"sha256": sha256, "since": since} for sha256 in sorted(set(digests))]
    if rows:
        session.execute(insert(session, LooseBlob).on_conflict_do_nothing(), rows)


def named(session: Session, digests: Sequence[str]) -> set[str]:
    """Those that a row names."""
    found: set[str] = set()
    for some in parts(digests):
        for table, column in NAMES:
            found |= set(session.scalars(select(column).select_from(table).where(column.in_(some))))
    return found


def due(session: Session, *, before: datetime, limit: int) -> list[str]:
    """Up to ``limit`` that are loose since before that moment, locked; without those that others have locked."""
    query = select(LooseBlob.sha256).where(LooseBlob.since < before).order_by(LooseBlob.since, LooseBlob.sha256)
    return list(session.scalars(query.limit(limit).with_for_update(skip_locked=True)))


def settle(session: Session, digests: Sequence[str]) -> None:
    """They are named by a row, or removed: forget them here."""
    for some in parts(digests):
        session.execute(delete(LooseBlob).where(LooseBlob.sha256.in_(some)))


def known(session: Session, digests: Sequence[str]) -> set[str]:
    """Those that are loose."""
    return {
        sha256
        for some in parts(digests)
        for sha256 in session.scalars(select(LooseBlob.sha256).where(LooseBlob.sha256.in_(some)))
    }
