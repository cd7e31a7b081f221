"""Real file systems that are full, and a real PostgreSQL that says so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from models.blobs import Blobs
from models.bootstrap import bootstrap
from models.database import Database
from models.settings import Settings
from models.storage import StorageFull, require, room
from models.tables import Fact
from tests.disk import MEGABYTES, Disk

RESERVE = MEGABYTES * 2**20 // 16


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def zeros(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 2**16):
        yield bytes(2**16)


def test_one_in_sixteen_of_a_small_disk_is_kept_and_64_mib_of_a_large_one(disk: Disk, tmp_path: Path) -> None:
    free = MEGABYTES * 2**20 - 2**16
    require(disk.folder, free - RESERVE)
    with pytest.raises(StorageFull, match=rf"the last {RESERVE} are for jobs that run; {free + 2**16} are needed"):
        require(disk.folder, free + 2**16)
    disk.grow(2048)
    require(disk.folder, 2**31 - 2**26 - 2**16)
    assert not room(disk.folder, 2**31 - 2**26 + 1)


def test_blobs_stop_at_the_reserve_and_keep_nothing_of_what_did_not_fit(disk: Disk) -> None:
    blobs = Blobs(disk.folder / "blobs")
    with pytest.raises(StorageFull):
        asyncio.run(blobs.receive(zeros(MEGABYTES * 2**20), limit=2**30))
    assert files(disk.folder) == []
    disk.fill()
    for write in (lambda: asyncio.run(blobs.receive(zeros(2**16), limit=2**30)), lambda: blobs.keep(b"x" * 10)):
        with pytest.raises(StorageFull):
            write()
    assert files(blobs.root) == []
    disk.empty()
    assert asyncio.run(blobs.receive(zeros(2**16), limit=2**30))[1] == 2**16


def test_sqlite_on_a_full_disk_reads_and_says_why_it_does_not_write(disk: Disk) -> None:
    settings = Settings(data_dir=disk.folder / "data")
    bootstrap(settings)
    database, long = Database(settings.database), "x" * 2**20
    with database.write() as session:
        session.add(Fact(name="before", value=long))
    disk.fill()
    with pytest.raises(StorageFull), database.write() as session:
        session.add(Fact(name="while", value=long))
    with database.read() as session:
        assert session.get_one(Fact, "before").value == long
        assert session.get(Fact, "while") is None
    disk.empty()
    with database.write() as session:
        session.add(Fact(name="while", value=long))
    database.close()


def test_what_is_kept_is_read_on_a_full_disk(disk: Disk) -> None:
    settings = Settings(data_dir=disk.folder / "data")
    secret = settings.secret()
    disk.fill()
    assert settings.secret() == secret


def test_a_full_disk_of_postgresql_is_told_from_other_errors(postgresql_server: str) -> None:
    database = Database(postgresql_server)
    full, other = (text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$") for code in ("53100", "53200"))
    with pytest.raises(StorageFull), database.write() as session:
        session.execute(full)
    with pytest.raises(Exception, match="53200") as raised, database.write() as session:
        session.execute(other)
    assert not isinstance(raised.value, StorageFull)
    database.close()
