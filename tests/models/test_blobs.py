import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.blobs import BlobDamaged, BlobMissing, Blobs, BlobsAway, DigestMismatch, TooLarge


async def stream(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_received_lies_under_its_digest(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    sha256, size = asyncio.run(blobs.receive(stream(b"ab", b"", b"c"), limit=3))
    assert (sha256, size) == (hashlib.sha256(b"abc").hexdigest(), 3)
    assert blobs.path(sha256).read_bytes() == b"abc"
    assert files(tmp_path) == [blobs.path(sha256)]


def test_a_stream_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        asyncio.run(Blobs(tmp_path).receive(stream(b"ab", b"cd"), limit=3))
    assert files(tmp_path) == []


def test_bytes_that_are_not_the_expected_ones_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match="3 bytes"):
        asyncio.run(Blobs(tmp_path).receive(stream(b"abc"), limit=3, expected=hashlib.sha256(b"abd").hexdigest()))
    assert files(tmp_path) == []


def test_a_broken_stream_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"ab"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(Blobs(tmp_path).receive(broken(), limit=10))
    assert files(tmp_path) == []


def test_the_same_bytes_twice_are_one_blob(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    first = asyncio.run(blobs.receive(stream(b"abc"), limit=10))
    draft = blobs.draft()
    draft.write_bytes(b"abc")
    assert blobs.adopt(draft) == first[0]
    assert len(files(tmp_path)) == 1


def test_drafts_of_the_dead_are_forgotten_and_no_others(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    old, old_folder, fresh = (blobs.draft() for _ in range(3))
    old.write_bytes(b"half")
    old_folder.mkdir()
    (old_folder / "x.raw").write_bytes(b"half")
    fresh.write_bytes(b"coming")
    for path in (old, old_folder):
        os.utime(path, (0, 0))
    blobs.forget_drafts(older_than=60)
    assert list(blobs.drafts.iterdir()) == [fresh]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "/" * 64])
def test_a_name_that_is_no_digest_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="hex digits"):
        Blobs(tmp_path).path(name)


def test_a_blob_is_read_once_to_see_that_it_is_whole_and_again_when_it_has_changed(tmp_path: Path) -> None:
    blobs, content = Blobs(tmp_path), os.urandom(3 * 2**20)
    sha256 = blobs.keep(content)
    blocks: list[None] = []
    path = blobs.verified(sha256, alive=lambda: blocks.append(None))
    assert path.read_bytes() == content
    assert len(blocks) == 3
    assert blobs.verified(sha256, alive=lambda: blocks.append(None)) == path
    assert len(blocks) == 3

    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(BlobDamaged, match=f"its {len(damaged)} bytes have the SHA-256 "):
            blobs.verified(sha256)
    path.unlink()
    with pytest.raises(BlobMissing):
        blobs.verified(sha256)
    blobs.keep(content)
    assert blobs.verified(sha256) == path


@pytest.mark.parametrize("look", ["verified", "written_at", "beginning"])
def test_what_was_away_until_just_now_is_not_missing(tmp_path: Path, look: str) -> None:
    """A disk that is mounted again between the look for a file and the one for the store."""
    disk, asked = tmp_path / "disk", list[Blobs]()

    def confirm(store: Blobs) -> None:
        asked.append(store)
        if disk.exists():
            store.root.rmdir()
            disk.rename(store.root)

    blobs = Blobs(tmp_path / "blobs", confirm=confirm)
    sha256 = blobs.keep(b"content")
    blobs.root.rename(disk)
    blobs.root.mkdir()
    asked.clear()
    found = {
        "verified": lambda: blobs.verified(sha256).read_bytes() == b"content",
        "written_at": lambda: blobs.written_at(sha256) is not None,
        "beginning": lambda: blobs.beginning(sha256, 3) == b"con",
    }
    assert found[look]() and len(asked) == 1


def test_a_store_that_goes_away_while_it_is_written_to_is_away(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    blobs.root.rename(tmp_path / "disk")
    blobs.root.mkdir()
    with pytest.raises(BlobsAway, match="went away while it was written to"):
        blobs.keep(b"content")
