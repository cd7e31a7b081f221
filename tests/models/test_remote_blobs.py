"""Blobs in a store that speaks S3: fetched once, compared with their digest, kept within bounds."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from models.blob_stores import stored
from models.blobs import BlobDamaged, BlobMissing, Blobs, BlobsAway
from models.remote_blobs import RemoteBlobs
from models.settings import Settings
from tests.s3 import Bucket

CONTENT = b"the content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(bucket: Bucket, tmp_path: Path) -> Blobs:
    return stored(Settings(data_dir=tmp_path / "one", blob_url=bucket.url))


def copies(blobs: Blobs) -> list[str]:
    """The digests of the copies on this machine."""
    return sorted(path.name for path in blobs.root.glob("??/*"))


def test_what_one_machine_keeps_another_reads(blobs: Blobs, bucket: Bucket, tmp_path: Path) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield CONTENT

    said: list[str] = []
    blobs.announce = said.append
    assert asyncio.run(blobs.receive(stream(), limit=100)) == (SHA256, len(CONTENT))
    large = os.urandom(12 * 2**20)  # in parts
    draft = blobs.draft()
    draft.write_bytes(large)
    digest = blobs.adopt(draft)
    assert said == [SHA256, digest]
    assert copies(blobs) == [] and list(blobs.drafts.iterdir()) == []

    other = stored(Settings(data_dir=tmp_path / "other", blob_url=bucket.url))
    beats: list[None] = []
    assert other.verified(SHA256).read_bytes() == CONTENT
    assert other.verified(digest, alive=lambda: beats.append(None)).read_bytes() == large
    assert len(beats) > 3
    assert copies(other) == sorted([SHA256, digest]) and list(other.drafts.iterdir()) == []
    assert other.beginning(digest, 64) == large[:64] and other.beginning(SHA256, 64) == CONTENT
    assert {(found.sha256, found.size) for found in other.all()} == {(SHA256, len(CONTENT)), (digest, len(large))}
    assert other.check() == "ok"


def test_a_copy_is_fetched_once(blobs: Blobs, bucket: Bucket) -> None:
    path = blobs.verified(blobs.keep(CONTENT))
    blobs.remove(SHA256)
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(BlobMissing):
        blobs.verified(SHA256)
    bucket.put(SHA256, CONTENT)
    assert blobs.verified(SHA256).read_bytes() == CONTENT
    bucket.put(SHA256, b"other")  # nobody looks again
    assert blobs.verified(SHA256).read_bytes() == CONTENT


def test_wrong_bytes_are_no_copy(blobs: Blobs, bucket: Bucket) -> None:
    for damaged in (CONTENT[:-1], b"The content", b""):
        bucket.put(SHA256, damaged)
        with pytest.raises(BlobDamaged, match=f"2 times its {len(damaged)} bytes arrived"):
            blobs.verified(SHA256)
    assert copies(blobs) == [] and list(blobs.drafts.iterdir()) == []


def test_a_copy_that_changed_on_this_machine_is_fetched_anew(blobs: Blobs) -> None:
    path = blobs.verified(blobs.keep(CONTENT))
    path.write_bytes(b"The content")
    assert blobs.verified(SHA256).read_bytes() == CONTENT


def test_copies_make_room_for_one_another_and_none_in_use_goes(bucket: Bucket, tmp_path: Path) -> None:
    blobs = RemoteBlobs(bucket.url, tmp_path / "cache", cache=2500)
    first, second, third, fourth = (blobs.keep(bytes([number]) * 1000) for number in range(4))
    for sha256 in (first, second):
        blobs.verified(sha256)
    for hours, sha256 in ((3, first), (2, second)):
        path = blobs.path(sha256)
        os.utime(path, ns=(path.stat().st_atime_ns - hours * 3600 * 10**9, path.stat().st_mtime_ns))
    blobs.verified(first)  # asked for again
    assert blobs.verified(third).is_file()
    assert copies(blobs) == sorted([first, third])
    blobs.verified(fourth)  # these are in use
    assert copies(blobs) == sorted([first, third, fourth])


def test_when_it_was_written_and_that_it_is_gone(blobs: Blobs) -> None:
    assert blobs.written_at(SHA256) is None
    blobs.keep(CONTENT)
    assert blobs.written_at(SHA256)
    blobs.verified(SHA256)
    assert blobs.remove(SHA256) == len(CONTENT)
    assert (blobs.remove(SHA256), blobs.written_at(SHA256), list(blobs.all()), copies(blobs)) == (0, None, [], [])
    for look in (blobs.verified, lambda sha256: blobs.beginning(sha256, 1)):
        with pytest.raises(BlobMissing):
            look(SHA256)


def test_a_store_that_is_away_is_said_to_be(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    blobs = stored(Settings(data_dir=tmp_path, blob_url=bucket.url))
    acts: tuple[Any, ...] = (blobs.verified, blobs.written_at, blobs.remove, lambda sha256: blobs.keep(CONTENT))
    for act in acts:
        with pytest.raises(BlobsAway, match=bucket.name):
            act(SHA256)
    assert list(blobs.drafts.iterdir()) == []


@pytest.mark.parametrize("url", ["bucket/prefix", "s3://", "s3://UPPER/x", "file:///tmp/x", "gs://bucket"])
def test_an_url_that_is_none_of_s3_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="s3://BUCKET/PREFIX"):
        Settings(blob_url=url)
