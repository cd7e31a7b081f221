"""The blob store: bytes under the name of their SHA-256, in a folder. What is there is whole and never changes.

Tenants who send the same bytes share a blob, and none can tell: bytes that are there already are received, hashed and
written like any others, the rows that name them are of one tenant each, and nobody can name a blob but by such a row.
A blob that no row names any more, of whichever tenant, is collected (``models.repositories.loose_blobs``); so each is
announced before it is put into place.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from models import storage
from models.settings import keep

BLOCK = 1 << 20
NAME = re.compile("[0-9a-f]{64}")
MARK = "installation"  # the name of what says whose the store is
LONGEST_MARK = 100  # bytes

T = TypeVar("T")


class TooLarge(Exception):
    """More bytes arrived than the limit allows; nothing was kept. Send less, or raise RADII_MAX_UPLOAD_BYTES."""


class DigestMismatch(Exception):
    """The bytes that arrived are not those that were sent; nothing was kept. Send them again."""


class BlobMissing(Exception):
    """A blob that a row names is not there: somebody removed its file. Send the same bytes again."""


class BlobDamaged(Exception):
    """The bytes of a blob can't be read, or are not those that were kept. Send the same bytes again."""


class BlobsAway(Exception):
    """The store does not answer, or another one does in its place (``models.installation``); nothing was kept. The same
    call may succeed later."""


class Found(NamedTuple):
    """A blob in the store."""

    sha256: str
    size: int  # bytes
    written_at: float  # seconds since 1970


Announce = Callable[[str], None]


def unannounced(sha256: str) -> None:
    """Says nothing, for a store whose blobs nobody collects."""


Confirm = Callable[["Blobs"], None]
"""Raises ``BlobsAway`` unless the store is there, and the right one (``models.installation.confirm``)."""


def unconfirmed(blobs: "Blobs") -> None:
    """Takes any store for the right one."""


class Blobs:
    """A folder of blobs. Writers fill a draft and link it into place, so a reader never sees half a blob."""

    def __init__(self, root: Path, *, announce: Announce = unannounced, confirm: Confirm = unconfirmed) -> None:
        self.root = root
        self.announce = announce
        self.confirm = confirm
        self.own_mark: str | None = None  # once ``confirm`` has seen it
        self.drafts = root / "drafts"
        self.drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._verified: dict[Path, tuple[int, int, int]] = {}

    def path(self, sha256: str) -> Path:
        """Where the blob ``sha256`` (64 hex digits) lies or would lie."""
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise ValueError("a blob is named by 64 lower-case hex digits")
        return self.root / sha256[:2] / sha256

    def known(self, sha256: str) -> bool:
        """Whether ``verified`` has found the blob to be whole, and its file has not changed since."""
        path = self.path(sha256)
        try:
            found = path.stat()
        except OSError:
            return False
        return self._verified.get(path) == (found.st_ino, found.st_size, found.st_mtime_ns)

    def verified(self, sha256: str, *, alive: Callable[[], None] = lambda: None) -> Path:
        """Where the blob lies, found to be whole: once in this process, and again if the file changes.

        Hashing takes a second or more a gigabyte; ``alive`` is called meanwhile. Raises ``BlobMissing``,
        ``BlobDamaged`` and ``BlobsAway``.
        """
        return self._confirmed(partial(self._whole, sha256, alive))

    def _confirmed(self, act: Callable[[], T]) -> T:
        """What ``act`` returns. Nothing is missing or damaged where the store itself is away, as a disk that is not
        mounted, nor where it was until just now: what seems so is asked for again of a store that is there."""
        with suppress(BlobMissing, BlobDamaged, FileNotFoundError):
            return act()
        self.confirm(self)
        try:
            return act()
        except (BlobMissing, BlobDamaged, FileNotFoundError):
            self.confirm(self)
            raise

    def _whole(self, sha256: str, alive: Callable[[], None]) -> Path:
        """As ``verified``, in whichever store."""
        path = self.path(sha256)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                state = (found.st_ino, found.st_size, found.st_mtime_ns)
                if self._verified.get(path) != state:
                    digest = hashlib.sha256()
                    while block := file.read(BLOCK):
                        digest.update(block)
                        alive()
                    if digest.hexdigest() != sha256:
                        raise BlobDamaged(f"its {found.st_size} bytes have the SHA-256 {digest.hexdigest()}")
                    self._verified[path] = state
        except FileNotFoundError:
            raise BlobMissing(sha256) from None
        except OSError as error:
            raise BlobDamaged(f"reading it failed: {error.strerror}") from error
        return path

    async def receive(
        self, stream: AsyncIterator[bytes], limit: int, *, expected: str | None = None
    ) -> tuple[str, int]:
        """Keep what ``stream`` yields; its (sha256, size in bytes).

        Raises ``TooLarge`` past ``limit`` bytes, ``DigestMismatch`` if the sha256 is not ``expected``, ``StorageFull``
        and ``BlobsAway``; nothing is kept then.
        """
        digest, size = hashlib.sha256(), 0
        with self._drafted() as draft:
            with draft.open("xb") as file:
                async for block in stream:
                    size += len(block)
                    if size > limit:
                        raise TooLarge(f"more than {limit} bytes")
                    storage.require(self.root, len(block))
                    digest.update(block)
                    file.write(block)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())  # seconds, for a large file on a slow disk
            if expected not in (None, digest.hexdigest()):
                raise DigestMismatch(f"the sha-256 of the {size} bytes that arrived is {digest.hexdigest()}")
            await asyncio.to_thread(self._place, draft, digest.hexdigest())
        return digest.hexdigest(), size

    def draft(self) -> Path:
        """A fresh path for a file that ``adopt`` may take over."""
        return self.drafts / secrets.token_hex(16)

    @contextmanager
    def _drafted(self) -> Iterator[Path]:
        """A fresh path, whose file is gone after the block unless it was placed. Raises ``StorageFull``, and
        ``BlobsAway`` where the folder is gone."""
        draft = self.draft()
        try:
            with storage.reported():
                yield draft
        except FileNotFoundError as error:  # nobody else removes a draft, nor the folder that it is in
            self.confirm(self)
            raise BlobsAway(f"{self.place} went away while it was written to") from error
        finally:
            draft.unlink(missing_ok=True)

    def forget_drafts(self, *, older_than: float) -> None:
        """Remove drafts that nobody has touched for ``older_than`` seconds: their writers were killed."""
        for draft in self.drafts.iterdir():
            with suppress(FileNotFoundError):  # its writer has just finished after all
                if time.time() - draft.stat().st_mtime > older_than:
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()

    def adopt(self, file: Path) -> str:
        """Move ``file`` (a draft) into the store; its sha256. Raises ``BlobsAway``."""
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._place(file, sha256)
        file.unlink(missing_ok=True)
        return sha256

    def keep(self, content: bytes) -> str:
        """Keep a few bytes; their sha256. Raises ``StorageFull``."""
        sha256 = hashlib.sha256(content).hexdigest()
        with self._drafted() as draft:
            storage.require(self.root, len(content))
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._place(draft, sha256)
        return sha256

    def where(self, sha256: str) -> str:
        """Where a person finds the blob."""
        return f"blobs/{sha256[:2]}/{sha256} in DATA_DIR"

    @property
    def place(self) -> str:
        """What a person calls the store."""
        return f"the folder {self.root}"

    def mark(self) -> str | None:
        """What the store says of whose it is; None if it says nothing. Raises ``BlobsAway``."""
        try:
            with (self.root / MARK).open("rb") as file:
                return file.read(LONGEST_MARK).decode(errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BlobsAway(f"{self.place} can't be read: {error.strerror}") from error

    def set_mark(self, mark: str) -> str:
        """Have the store say whose it is, unless it does; what it says."""
        with storage.reported():
            return keep(self.root / MARK, mark)

    def beginning(self, sha256: str, size: int) -> bytes:
        """The first ``size`` bytes. Raises ``BlobMissing`` and ``BlobsAway``."""

        def read() -> bytes:
            try:
                with self.path(sha256).open("rb") as file:
                    return file.read(size)
            except FileNotFoundError:
                raise BlobMissing(sha256) from None

        return self._confirmed(read)

    def check(self) -> str:
        """ "ok", or why nothing can be written. Raises ``BlobsAway``."""
        self.confirm(self)
        return "ok" if os.access(self.drafts, os.W_OK | os.X_OK) else "the folder can't be written"

    def written_at(self, sha256: str) -> float | None:
        """When the blob was put into place, in seconds since 1970; None if it is not there. Raises ``BlobsAway``."""
        for _ in range(2):  # as `_confirmed`
            if (moment := self.look(sha256)) is not None:
                return moment
            self.confirm(self)
        return None

    def look(self, sha256: str) -> float | None:
        """As ``written_at``, whosever the store is."""
        try:
            return self.path(sha256).stat().st_mtime
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> int:
        """Remove the blob, if it is there: the bytes that are free now. Who reads it goes on reading."""
        path = self.path(sha256)
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            return size
        return 0

    def all(self) -> Iterator[Found]:
        """Every blob there is."""
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                if NAME.fullmatch(path.name) is None:  # somebody else's
                    continue
                state = path.stat()
                yield Found(path.name, state.st_size, state.st_mtime)

    def _place(self, draft: Path, sha256: str) -> None:
        self.confirm(self)  # the draft may lie on another disk, where this one's is not mounted
        self.announce(sha256)
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        os.utime(draft)  # it is as old as its place in the store
        draft.replace(target)
