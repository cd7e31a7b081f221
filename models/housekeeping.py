"""What is kept no longer goes, in short transactions: each worker's sweeper does some of it every minute.

Nothing of it must be done by anybody at a certain time, and any number of processes may do it at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, make_url, select
from sqlalchemy.orm import Session, aliased

from models import versions
from models.base import now
from models.blob_stores import stored
from models.blobs import Blobs, Found
from models.database import Database, parts
from models.ids import BATCH, CERTIFICATION, DATASET, MODEL, UPLOAD
from models.installation import confirm
from models.reachable import await_database
from models.repositories import deletion, loose_blobs
from models.repositories.deletion import KINDS
from models.settings import Settings
from models.tables import LooseBlob
from models.tables.owned import GONE

DRAFT_SECONDS = 86_400.0  # no upload and no intake takes a day
UNUSED = timedelta(days=1)  # an upload of which nothing is made
ROWS = 2000  # of one transaction: some ten milliseconds
SOME = 100  # rows that are buried, or blobs that are removed, in one transaction


class Done(NamedTuple):
    """What went."""

    rows: dict[str, int]  # deleted by age, by the prefix of their ids
    removed: int  # rows that were taken out of the tables, those of the parts of a certification included
    blobs: int
    bytes: int

    @property
    def words(self) -> str:
        """The same in a line for people."""
        words = [
            f"{number} {KINDS[prefix].name if number == 1 else KINDS[prefix].several}"
            for prefix, number in self.rows.items()
        ]
        words += [f"{self.removed} rows of what was deleted"] * bool(self.removed)
        return ", ".join([*words, f"{self.blobs} stored file{'s' * (self.blobs != 1)} ({self.bytes:,} bytes)"])


def tidy(database: Database, blobs: Blobs, keep_days: int | None, *, grace: timedelta = loose_blobs.GRACE) -> Done:
    """All that is to be done now."""
    rows: dict[str, int] = {}
    for prefix, old in _ages(keep_days).items():
        while buried := _expire(database, prefix, old):
            rows[prefix] = rows.get(prefix, 0) + buried
    removed = 0
    while gone := _removed(database):
        removed += gone
    collected = list(_collected(database, blobs, grace))
    blobs.forget_drafts(older_than=DRAFT_SECONDS)
    return Done(rows, removed, len(collected), sum(collected))


def note_strays(database: Database, blobs: Blobs) -> None:
    """Have blobs that nothing knows of looked at, such as those that a restored database never heard of. It lists the
    whole store. Raises ``OtherStore``."""
    for some in parts(_strays(database, blobs), SOME):
        with database.write() as session:
            for blob in some:
                loose_blobs.let_go(session, [blob.sha256], datetime.fromtimestamp(blob.written_at, UTC))


def _strays(database: Database, blobs: Blobs) -> list[Found]:
    """Blobs that nothing knows of. Raises ``OtherStore`` where they are somebody else's."""
    confirm(database, blobs)
    strays = list[Found]()
    for some in parts(list(blobs.all()), SOME):
        digests = [blob.sha256 for blob in some]
        with database.read() as session:
            known = loose_blobs.named(session, digests) | loose_blobs.known(session, digests)
        strays += [blob for blob in some if blob.sha256 not in known]
    return strays


class _Undone(Exception):
    """Takes back what was done to see what it would come to."""


@contextmanager
def _taken_back(database: Database) -> Iterator[Session]:
    try:
        with database.write() as session:
            yield session
            raise _Undone
    except _Undone:
        pass


def foreseen(database: Database, blobs: Blobs, keep_days: int | None) -> Done:
    """What ``note_strays`` and ``tidy`` would do if every grace were over. It changes nothing, and ``removed`` is 0."""
    rows: dict[str, int] = {}
    with _taken_back(database) as session:
        for prefix, old in _ages(keep_days).items():
            while buried := _bury_old(session, prefix, old):
                rows[prefix] = rows.get(prefix, 0) + buried
        kept: set[str] = set()
        for table, column in loose_blobs.NAMES:
            kept |= set(session.scalars(select(column).select_from(table).where(table.tenant != GONE)))
    sizes = [blob.size for blob in blobs.all() if blob.sha256 not in kept]
    return Done(rows, 0, len(sizes), sum(sizes))


def _ages(keep_days: int | None) -> dict[str, ColumnElement[bool]]:
    """Which rows are old enough to go once nothing needs them, by kind; what needs another stands before it, and a
    batch before its certifications, so that nobody sees one without some of them."""
    tables: dict[str, Any] = {prefix: kind.table for prefix, kind in KINDS.items()}
    ages: dict[str, ColumnElement[bool]] = {}
    if keep_days is not None:
        before = now() - timedelta(days=keep_days)
        job, member = tables[CERTIFICATION], aliased(tables[CERTIFICATION])
        young = member.finished_at.is_(None) | (member.finished_at >= before)
        of_batch = member.batch_id == tables[BATCH].id
        ages[BATCH] = (tables[BATCH].created_at < before) & ~exists().where(of_batch, young)
        ages[CERTIFICATION] = (job.finished_at < before) & ~exists().where(member.batch_id == job.batch_id, young)
        ages |= {prefix: tables[prefix].finished_at < before for prefix in (DATASET, MODEL)}
    return ages | {UPLOAD: tables[UPLOAD].created_at < now() - UNUSED}


def _expire(database: Database, prefix: str, old: ColumnElement[bool]) -> int:
    with database.read() as session:  # most times there is nothing, for which SQLite need not lock its file
        if not _unneeded(session, prefix, old):
            return 0
    with database.write() as session:
        return _bury_old(session, prefix, old)


def _bury_old(session: Session, prefix: str, old: ColumnElement[bool]) -> int:
    """Delete some rows that are old and that nothing needs; how many."""
    found = deletion.lock(session, prefix, _unneeded(session, prefix, old), wait=False)
    # Once more, now that nothing new can need them.
    rows = _unneeded(session, prefix, KINDS[prefix].table.id.in_(found)) if found else []
    deletion.bury(session, prefix, rows)
    return len(rows)


def _unneeded(session: Session, prefix: str, which: ColumnElement[bool]) -> list[str]:
    table = KINDS[prefix].table
    free = [] if prefix == BATCH else deletion.unneeded(prefix)  # its certifications are as old, and go next
    query = select(table.id).where(table.tenant != GONE, which, *free).order_by(table.id)
    return list(session.scalars(query.limit(SOME)))


def _removed(database: Database) -> int:
    with database.read() as session:
        if not any(session.scalar(select(kind.table.id).where(kind.table.tenant == GONE)) for kind in KINDS.values()):
            return 0
    with database.write() as session:
        return deletion.remove(session, rows=ROWS)


def _collected(database: Database, blobs: Blobs, grace: timedelta) -> Iterator[int]:
    """Remove blobs that no row names; the size in bytes of each. Raises ``OtherStore``."""
    before = now() - grace
    while True:
        with database.read() as session:
            if session.scalar(select(LooseBlob.sha256).where(LooseBlob.since < before).limit(1)) is None:
                return
        confirm(database, blobs)
        with database.write() as session:
            digests = loose_blobs.due(session, before=before, limit=SOME)
            named = loose_blobs.named(session, digests)
            loose_blobs.settle(session, digests)  # a database that can't be written says so here
            again: dict[str, float] = {}
            for sha256 in digests:
                if sha256 in named:
                    continue
                written_at = blobs.written_at(sha256)
                if written_at is not None and written_at >= before.timestamp():
                    again[sha256] = written_at  # just written, by who did not say so: a version before this
                elif written_at is not None:
                    yield blobs.remove(sha256)
            for sha256, moment in again.items():
                loose_blobs.let_go(session, [sha256], datetime.fromtimestamp(moment, UTC))
        if not digests:
            return


def once(settings: Settings, *, dry_run: bool) -> Done:
    """For `radii gc`: all of it, or what it would come to. Raises ``ValueError`` where there is no service of this
    version, ``OtherStore``, and ``Unreachable``."""
    url = make_url(settings.database)
    if url.drivername == "sqlite" and not Path(url.database or "").is_file():
        where = "name the service's (RADII_DATA_DIR, RADII_DATABASE_URL)"
        raise ValueError(f"there is no database {url.database}: {where}")
    await_database(settings, say=print, patience=0)
    database, blobs = Database(settings.database), stored(settings)
    try:
        with database.read() as session:
            versions.check(session.connection())
        if dry_run:
            _strays(database, blobs)
            return foreseen(database, blobs, settings.keep_days)
        note_strays(database, blobs)
        return tidy(database, blobs, settings.keep_days)
    finally:
        database.close()
