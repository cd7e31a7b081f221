"""A blob store is marked as its database's, and no other is taken for it: neither an empty folder nor another's."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.blob_stores import stored
from models.blobs import MARK, BlobMissing, Blobs, BlobsAway
from models.bootstrap import bootstrap
from models.database import Database
from models.housekeeping import note_strays, tidy
from models.installation import FACT, OtherStore, confirm
from models.principal import DEFAULT_TENANT
from models.remote_blobs import RemoteBlobs
from models.repositories import loose_blobs, uploads
from models.settings import Settings
from models.tables import Fact, Upload
from tests.s3 import Bucket


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Blobs:
    """A new store, which asks the database whose it is."""
    return store(database, tmp_path / "one", request.getfixturevalue("bucket") if request.param == "s3" else None)


def store(database: Database, folder: Path, bucket: Bucket | None = None) -> Blobs:
    settings = Settings(data_dir=folder, blob_url=bucket.url if bucket else "")
    return stored(settings, confirm=lambda blobs: confirm(database, blobs))


def lose_all(blobs: Blobs) -> None:
    """Everything is gone, the mark too: as if another disk, or bucket, stood in its place."""
    for blob in list(blobs.all()):
        blobs.remove(blob.sha256)
    unmark(blobs)


def unmark(blobs: Blobs) -> None:
    """Remove the mark."""
    if isinstance(blobs, RemoteBlobs):
        blobs._io.delete(blobs._store, MARK)
    else:
        (blobs.root / MARK).unlink()


def send(database: Database, blobs: Blobs, content: bytes = b"content") -> str:
    """The digest of an upload."""
    sha256 = blobs.keep(content)
    with database.write() as session:
        uploads.add(session, DEFAULT_TENANT, sha256=sha256, size=len(content))
    return sha256


def identity(database: Database) -> str | None:
    with database.read() as session:
        return session.scalar(select(Fact.value).where(Fact.name == FACT))


def test_both_are_marked_once_and_for_all(database: Database, blobs: Blobs) -> None:
    assert (identity(database), blobs.mark()) == (None, None)
    confirm(database, blobs)
    mark = blobs.mark()
    assert mark is not None and len(mark) == 32 and identity(database) == mark
    confirm(database, blobs)
    sha256 = send(database, blobs)
    confirm(database, blobs)
    assert (identity(database), blobs.mark()) == (mark, mark)
    assert [blob.sha256 for blob in blobs.all()] == [sha256]  # the mark is none


def test_a_file_is_missing_only_where_the_store_is_the_right_one(database: Database, blobs: Blobs) -> None:
    confirm(database, blobs)
    sha256 = send(database, blobs)
    blobs.remove(sha256)
    looks: list[Any] = [blobs.verified, blobs.written_at, lambda sha256: blobs.beginning(sha256, 3)]
    for look in looks[::2]:
        with pytest.raises(BlobMissing):
            look(sha256)
    assert blobs.written_at(sha256) is None
    lose_all(blobs)
    for look in looks:
        with pytest.raises(BlobsAway, match="not mounted, or another installation's"):
            look(sha256)
    with pytest.raises(BlobsAway):
        blobs.check()
    blobs.set_mark(str(identity(database)))  # as the message says, where the files are lost for good
    with pytest.raises(BlobMissing):
        blobs.verified(sha256)
    assert blobs.check() == "ok"


def test_an_installation_from_before_there_were_marks_has_its_own(database: Database, blobs: Blobs) -> None:
    """And a backup from then, or one whose copy left the mark out."""
    sha256 = send(database, blobs if isinstance(blobs, RemoteBlobs) else Blobs(blobs.root))
    assert (identity(database), blobs.mark()) == (None, None)
    confirm(database, blobs)
    mark = identity(database)
    assert mark is not None and blobs.mark() == mark
    unmark(blobs)
    confirm(database, blobs)
    assert identity(database) == blobs.mark() == mark
    assert blobs.verified(sha256).read_bytes() == b"content"


def test_a_database_from_before_takes_the_mark_of_the_store_that_has_its_files(
    database: Database, blobs: Blobs
) -> None:
    sha256 = send(database, blobs)
    confirm(database, blobs)
    mark = blobs.mark()
    with database.write() as session:
        session.delete(session.get_one(Fact, FACT))
    blobs.own_mark = None  # as in another process
    confirm(database, blobs)
    assert identity(database) == mark
    with database.write() as session:  # as a new one
        session.delete(session.get_one(Fact, FACT))
        session.delete(session.scalars(select(Upload)).one())
    blobs.own_mark = None
    with pytest.raises(OtherStore, match="only files that this database does not know"):
        confirm(database, blobs)
    assert identity(database) is None and blobs.look(sha256) is not None


def test_the_marked_files_of_another_installation_stay(database: Database, blobs: Blobs, tmp_path: Path) -> None:
    """Even if a file that both have makes the databases look alike."""
    ours = store(database, tmp_path / "ours")
    send(database, ours)
    confirm(database, ours)
    theirs = Database(f"sqlite:///{tmp_path / 'theirs.sqlite'}")
    Fact.metadata.create_all(theirs.engine)
    blobs.confirm = lambda blobs: confirm(theirs, blobs)
    confirm(theirs, blobs)
    kept = send(theirs, blobs)
    with database.write() as session:
        loose_blobs.let_go(session, [kept])
        session.delete(session.scalars(select(Upload)).one())
    blobs.own_mark = None  # as in our own process
    for remove in (lambda: note_strays(database, blobs), lambda: tidy(database, blobs, None)):
        with pytest.raises(OtherStore, match=f"its mark, `installation`, says {identity(theirs)}"):
            remove()
    assert blobs.look(kept) is not None
    with pytest.raises(OtherStore):
        confirm(database, blobs)
    theirs.close()


def test_nothing_is_written_to_a_folder_that_is_not_mounted(database: Database, tmp_path: Path) -> None:
    blobs = store(database, tmp_path / "data")
    sha256 = send(database, blobs)
    blobs.root.rename(tmp_path / "elsewhere")
    for mounted_over in (False, True):
        if mounted_over:
            (blobs.root / "drafts").mkdir(parents=True)
        with pytest.raises(BlobsAway):
            blobs.keep(b"more")
    shutil.rmtree(blobs.root)
    (tmp_path / "elsewhere").rename(blobs.root)
    assert blobs.verified(sha256) and blobs.keep(b"more")


def test_bootstrap_says_that_the_store_is_not_there(tmp_path: Path, empty_database_url: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=empty_database_url)
    bootstrap(settings)
    database = Database(settings.database)
    send(database, stored(settings))
    bootstrap(settings)
    shutil.rmtree(settings.blob_dir)
    with pytest.raises(OtherStore, match=f"none of the files .* write {identity(database)} into `installation`"):
        bootstrap(settings)
    database.close()
