"""Whose a blob store is: the database keeps an id, and its store the same one as a mark beside the blobs.

So a folder that is not mounted, and another installation's store, are told from a lost file: without the right mark
nothing there is missing, nor may be removed. ``Blobs`` asks before it says that a blob is gone.
"""

import secrets
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.blobs import MARK, Blobs, BlobsAway
from models.database import Database, away, insert
from models.repositories import loose_blobs
from models.tables import Fact

FACT = "installation"
SOME = 100  # of the blobs that the rows name, which are looked for in a store without a mark


class OtherStore(BlobsAway, ValueError):
    """The blob store is not this installation's, or its disk is not mounted; nothing was written or removed there."""


def confirm(database: Database, blobs: Blobs, *, first: bool = False) -> None:
    """See to it that the store is that of the database. One without a mark is marked if it evidently is: a blob that a
    row names lies there, or both are empty and the database knows of no other store, or this is the ``first`` process
    of a service. Raises ``OtherStore``, and ``BlobsAway`` if it can't be told now."""
    mark = blobs.mark()
    if mark is not None and mark == blobs.own_mark:
        return
    try:
        own = _identity(database)
        if mark is None:
            with database.read() as session:
                _known(session, blobs, own, marked=own is not None and not first)
            mark = blobs.set_mark(own or secrets.token_hex(16))
        elif own is None:
            with database.read() as session:
                _known(session, blobs, mark)
        if own is None:
            own = _name(database, mark)
    except DBAPIError as error:
        if away(error):
            raise BlobsAway(f"whose {blobs.place} is can't be told: the database does not answer") from error
        raise
    if mark != own:
        raise OtherStore(
            f"{blobs.place} is another installation's: its mark, `{MARK}`, says {mark}, and this database {own}. Name "
            "one and the same by RADII_DATABASE_URL, RADII_DATA_DIR and RADII_BLOB_URL. Nothing was removed."
        )
    blobs.own_mark = mark


def _identity(database: Database) -> str | None:
    with database.read() as session:
        return session.scalar(select(Fact.value).where(Fact.name == FACT))


def _name(database: Database, mark: str) -> str:
    """Have the database keep the mark; what it keeps."""
    with database.write() as session:
        session.execute(insert(session, Fact).values(name=FACT, value=mark).on_conflict_do_nothing())
        return session.scalars(select(Fact.value).where(Fact.name == FACT)).one()


def _known(session: Session, blobs: Blobs, mark: str | None, *, marked: bool = False) -> None:
    """Raise ``OtherStore`` unless what lies in the store is what the rows name; if nothing does, unless it may be the
    one that was ``marked`` before."""
    named = False
    for sha256 in _named(session):
        if blobs.look(sha256) is not None:
            return
        named = True
    stranger = next(blobs.all(), None)
    ours = stranger is None or loose_blobs.known(session, [stranger.sha256])
    if not named and ours and not marked:
        return
    said = "none of the files that this database names" if named else "only files that this database does not know"
    if ours and not named:
        said = "no mark, which the store of this database's service has"
    mend = f" If its files are lost for good, write {mark} into `{MARK}` there." if named and mark else ""
    raise OtherStore(
        f"{blobs.place} has {said}: it is not mounted, or another installation's. Mount it, or name one and the same "
        f"by RADII_DATABASE_URL, RADII_DATA_DIR and RADII_BLOB_URL.{mend} Nothing was removed."
    )


def _named(session: Session) -> Iterator[str]:
    """Some of the blobs that rows name, of each kind the newest first."""
    for table, column in loose_blobs.NAMES:
        query = select(column).select_from(table).where(column.is_not(None)).order_by(table.id.desc())
        yield from session.scalars(query.limit(SOME))
