"""A blob goes once no row names it, and never one that somebody is about to name."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from models.base import now
from models.blobs import Blobs
from models.database import Database
from models.housekeeping import foreseen, note_strays, tidy
from models.installation import OtherStore
from models.principal import DEFAULT_TENANT
from models.repositories import loose_blobs, uploads
from models.tables import LooseBlob, Upload
from tests import factories

CONTENT = b"the content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NONE = timedelta(0)
AGES_AGO = 10_000_000.0  # seconds since 1970


@pytest.fixture
def blobs(database: Database, tmp_path: Path) -> Blobs:
    """A store whose blobs are announced to the database."""

    def announce(sha256: str) -> None:
        with database.write() as session:
            loose_blobs.announce(session, sha256)

    return Blobs(tmp_path / "blobs", announce=announce)


def send(database: Database, blobs: Blobs, content: bytes = CONTENT, tenant: str = DEFAULT_TENANT) -> str:
    """The id of an upload, as the API makes it."""

    async def stream() -> AsyncIterator[bytes]:
        yield content

    sha256, size = asyncio.run(blobs.receive(stream(), limit=100))
    with database.write() as session:
        return uploads.add(session, tenant, sha256=sha256, size=size).id


def forget(database: Database, upload_id: str) -> None:
    """Remove the row, as deleting it does in the end."""
    with database.write() as session:
        loose_blobs.let_go(session, [session.get_one(Upload, upload_id).sha256])
        session.execute(delete(Upload).where(Upload.id == upload_id))


def age(database: Database, blobs: Blobs, sha256: str = SHA256) -> None:
    """As if the blob had been announced and written long ago."""
    os.utime(blobs.path(sha256), (AGES_AGO, AGES_AGO))
    with database.write() as session:
        session.execute(update(LooseBlob).values(since=now() - timedelta(days=1)))


def loose(database: Database) -> int:
    with database.read() as session:
        return session.execute(select(func.count()).select_from(LooseBlob)).scalar_one()


def test_a_blob_stays_while_any_tenant_names_it(database: Database, blobs: Blobs) -> None:
    first, second = send(database, blobs), send(database, blobs, tenant="another")
    age(database, blobs)
    assert tidy(database, blobs, None).blobs == 0
    assert loose(database) == 0  # settled
    forget(database, first)
    assert tidy(database, blobs, None).blobs == 0
    forget(database, second)
    assert foreseen(database, blobs, None)[2:] == (1, len(CONTENT))
    assert blobs.path(SHA256).is_file()
    assert tidy(database, blobs, None)[2:] == (1, len(CONTENT))
    assert not blobs.path(SHA256).exists() and loose(database) == 0


def test_what_data_sets_were_prepared_to_is_named_by_them(database: Database, blobs: Blobs) -> None:
    arrays: dict[str, Any] = {name: blobs.keep(name.encode()) for name in ("x_blob", "y_blob")}
    with database.write() as session:
        factories.ready_dataset(session, **arrays)
    for sha256 in arrays.values():
        age(database, blobs, sha256)
    assert tidy(database, blobs, None).blobs == 0
    assert all(blobs.path(sha256).is_file() for sha256 in arrays.values())


def test_what_is_announced_is_waited_for(database: Database, blobs: Blobs) -> None:
    """Another upload of the same content goes away meanwhile."""
    before = send(database, blobs)
    age(database, blobs)
    tidy(database, blobs, None)
    blobs.keep(CONTENT)  # announced and written; the row that names it is yet to come
    forget(database, before)
    os.utime(blobs.path(SHA256), (AGES_AGO, AGES_AGO))
    assert tidy(database, blobs, None).blobs == 0
    assert blobs.path(SHA256).is_file()
    age(database, blobs)  # it never came
    assert tidy(database, blobs, None).blobs == 1


def test_a_blob_that_another_version_wrote_without_a_word_stays_for_a_while(database: Database, blobs: Blobs) -> None:
    before = send(database, blobs)
    age(database, blobs)
    tidy(database, blobs, None)
    Blobs(blobs.root).keep(CONTENT)
    forget(database, before)
    assert tidy(database, blobs, None).blobs == 0
    assert tidy(database, blobs, None).blobs == 0 and loose(database) == 1
    age(database, blobs)
    assert tidy(database, blobs, None).blobs == 1


def test_blobs_that_nothing_knows_are_found(database: Database, blobs: Blobs) -> None:
    kept = send(database, blobs)
    stray = Blobs(blobs.root).keep(b"stray")
    for sha256 in (SHA256, stray):
        os.utime(blobs.path(sha256), (AGES_AGO, AGES_AGO))
    assert tidy(database, blobs, None).blobs == 0
    note_strays(database, blobs)
    note_strays(database, blobs)
    assert tidy(database, blobs, None)[2:] == (1, 5)
    assert not blobs.path(stray).exists()
    with database.read() as session:
        assert blobs.path(session.get_one(Upload, kept).sha256).is_file()


def test_the_files_of_another_installation_stay(database: Database, blobs: Blobs) -> None:
    """A database that knows none of them, with the variables of two installations mixed."""
    theirs = Blobs(blobs.root).keep(b"theirs")
    os.utime(blobs.path(theirs), (AGES_AGO, AGES_AGO))
    with pytest.raises(OtherStore, match="only files that this database does not know"):
        note_strays(database, blobs)
    assert tidy(database, blobs, None).blobs == 0
    assert blobs.path(theirs).is_file()


@pytest.mark.parametrize("moment", ["before", "amid"])
def test_the_same_content_that_arrives_while_its_blob_is_removed(
    database: Database, blobs: Blobs, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the announcement is there when the collector looks. Amid: it waits until the blob is gone."""
    forget(database, send(database, blobs))
    age(database, blobs)
    remove, threads, done = blobs.remove, list[threading.Thread](), threading.Event()

    def arrive() -> None:
        send(database, blobs)
        done.set()

    def slowly(sha256: str) -> int:
        threads.append(threading.Thread(target=arrive))
        threads[0].start()
        assert not done.wait(0.3)  # it waits for us
        assert blobs.path(sha256).is_file()
        return remove(sha256)

    if moment == "before":
        arrive()
    monkeypatch.setattr(blobs, "remove", slowly)
    removed = tidy(database, blobs, None).blobs
    assert removed == (moment == "amid")
    for thread in threads:
        thread.join(60)
    assert done.is_set() and blobs.path(SHA256).read_bytes() == CONTENT
    os.utime(blobs.path(SHA256), (AGES_AGO, AGES_AGO))
    monkeypatch.setattr(blobs, "remove", remove)
    assert tidy(database, blobs, None, grace=NONE).blobs == 0 and loose(database) == 0
    assert blobs.path(SHA256).is_file()
