"""Blobs in an S3-compatible store, read through a bounded folder of copies on this machine.

Layout and protocol are those of the folder: a blob is an object ``ab/ab...`` under the prefix, written whole and never
changed. Credentials, region and endpoint are the store's own variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from models import storage
from models.blobs import (
    BLOCK,
    LONGEST_MARK,
    MARK,
    NAME,
    Announce,
    BlobDamaged,
    BlobMissing,
    Blobs,
    BlobsAway,
    Confirm,
    Found,
    unannounced,
    unconfirmed,
)

IN_USE = 600.0  # seconds: a copy that was asked for so recently may be open, or is about to be
TRIES = 2  # of fetching what arrived as other bytes
USERINFO = re.compile(r"//[^/@\s]*@")
CLIENT = {"timeout": "1d", "read_timeout": "20s", "connect_timeout": "5s"}  # a blob has gigabytes; silence is short
RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=8)}  # less than a lease


class RemoteBlobs(Blobs):
    """Blobs under an URL such as s3://bucket/prefix. ``root`` holds drafts, and copies of at most ``cache`` bytes: what
    was asked for longest ago makes room for others, unless it is in use."""

    def __init__(
        self,
        url: str,
        root: Path,
        *,
        cache: int,
        announce: Announce = unannounced,
        confirm: Confirm = unconfirmed,
    ) -> None:
        super().__init__(root, announce=announce, confirm=confirm)
        import obstore

        self.url = url.rstrip("/")
        self.cache = cache
        self._io: Any = obstore
        for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:
            del os.environ[name]  # which compose passes on where none is set, and which would be taken for a URL
        options: dict[str, Any] = dict(CLIENT)
        if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http:"):
            options["allow_http"] = True
        self._store = obstore.store.from_url(url, client_options=options, retry_config=RETRIES)  # type: ignore[call-overload]

    def _whole(self, sha256: str, alive: Callable[[], None]) -> Path:
        """Where a copy of the blob lies, whose bytes have this digest; fetched if there is none, and anew if it is
        damaged. Raises ``BlobMissing``, ``BlobDamaged``, ``BlobsAway`` and ``StorageFull``."""
        try:
            path = super()._whole(sha256, alive)
        except BlobMissing:
            path = self._fetched(sha256, alive)
        except BlobDamaged:
            self.path(sha256).unlink(missing_ok=True)
            path = self._fetched(sha256, alive)
        with suppress(FileNotFoundError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # asked for now, and not changed
        return path

    def where(self, sha256: str) -> str:
        return f"{self.url}/{_key(sha256)}"

    @property
    def place(self) -> str:
        return f"the store {self.url}"

    def mark(self) -> str | None:
        try:
            with self._asked():
                found = self._io.get(self._store, MARK)
                if int(found.meta["size"]) > LONGEST_MARK:
                    raise BlobsAway(f"`{MARK}` in {self.place} is no mark of radii: it has {found.meta['size']} bytes")
                return bytes(found.bytes()).decode(errors="replace").strip()
        except BlobMissing:
            return None

    def set_mark(self, mark: str) -> str:
        with self._asked():
            self._io.put(self._store, MARK, f"{mark}\n".encode())
        return self.mark() or mark

    def beginning(self, sha256: str, size: int) -> bytes:
        def read() -> bytes:
            with self._asked(sha256):
                return bytes(self._io.get_range(self._store, _key(sha256), start=0, length=size))

        return self._confirmed(read)

    def look(self, sha256: str) -> float | None:
        try:
            with self._asked(sha256):
                return float(self._io.head(self._store, _key(sha256))["last_modified"].timestamp())
        except BlobMissing:
            return None

    def remove(self, sha256: str) -> int:
        self.path(sha256).unlink(missing_ok=True)
        try:
            with self._asked(sha256):
                size = int(self._io.head(self._store, _key(sha256))["size"])
                self._io.delete(self._store, _key(sha256))
                return size
        except BlobMissing:
            return 0

    def all(self) -> Iterator[Found]:
        with self._asked():
            for page in self._io.list(self._store):
                for item in page:
                    name = str(item["path"]).rpartition("/")[2]
                    if NAME.fullmatch(name):
                        yield Found(name, int(item["size"]), item["last_modified"].timestamp())

    def check(self) -> str:
        self.mark()  # whatever ``confirm`` asks
        return super().check()

    def _place(self, draft: Path, sha256: str) -> None:
        """The file is not kept here: who asks for it may be another machine."""
        self.announce(sha256)
        with self._asked(sha256):
            self._io.put(self._store, _key(sha256), draft)
        draft.unlink()

    def _fetched(self, sha256: str, alive: Callable[[], None]) -> Path:
        """A fresh copy. Raises as ``verified``."""
        for last in (False, True):
            with self._drafted() as draft:
                digest, size = self._download(sha256, draft, alive)
                if digest == sha256:
                    target = self.path(sha256)
                    target.parent.mkdir(exist_ok=True, mode=0o700)
                    draft.replace(target)
                    self._make_room(target)
                    return super()._whole(sha256, alive)
            if last:
                raise BlobDamaged(f"{TRIES} times its {size} bytes arrived with the SHA-256 {digest}")
        raise AssertionError("unreachable")

    def _download(self, sha256: str, draft: Path, alive: Callable[[], None]) -> tuple[str, int]:
        """The digest and the number of the bytes that arrived in ``draft``."""
        digest, size = hashlib.sha256(), 0
        with self._asked(sha256), draft.open("xb") as file:
            found = self._io.get(self._store, _key(sha256))
            storage.require(self.root, int(found.meta["size"]))
            for block in found.stream(min_chunk_size=BLOCK):
                digest.update(block)
                size += file.write(block)
                alive()
        return digest.hexdigest(), size

    def _make_room(self, fresh: Path) -> None:
        """Remove the copies that were asked for longest ago until the rest is within bounds."""
        copies = []
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                copies.append((path.stat().st_atime, path.stat().st_size, path))
        total = sum(size for _, size, _ in copies)
        for asked_at, size, path in sorted(copies):
            if total <= self.cache or path == fresh or asked_at > time.time() - IN_USE:
                break
            path.unlink(missing_ok=True)
            total -= size

    @contextmanager
    def _asked(self, sha256: str = "") -> Iterator[None]:
        """What the store raises, in our words."""
        try:
            yield
        except FileNotFoundError as error:
            raise BlobMissing(sha256) from error
        except self._io.exceptions.BaseError as error:
            # The first line has neither credentials nor the answer's body.
            said = USERINFO.sub("//", str(error).partition("\n")[0])[:200]
            raise BlobsAway(f"the blob store {self.url} does not answer as it should: {said}") from None


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"
