"""Blob stores that can be away for a while."""

import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.s3 import Bucket


class Store(ABC):
    """Where an installation has its blobs."""

    url: str
    """What RADII_BLOB_URL is to be."""

    @abstractmethod
    def away(self) -> AbstractContextManager[None]:
        """Not there during the block."""


class Folder(Store):
    """A folder, as of a disk that is mounted there: while that is away the place where it was is empty."""

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def away(self) -> Iterator[None]:
        disk, empty = (self.folder.with_name(f"{self.folder.name}-{name}") for name in ("disk", "empty"))
        self.folder.rename(disk)
        self.folder.mkdir(mode=0o700)
        try:
            yield
        finally:
            self.folder.rename(empty)
            disk.rename(self.folder)
            assert not [*empty.glob("[0-9a-f][0-9a-f]/*")]  # nothing was kept where nobody will find it
            shutil.rmtree(empty)


class Remote(Store):
    """A store that speaks S3; while it is away it takes connections and says nothing."""

    def __init__(self, bucket: Bucket) -> None:
        self.url, self.process = bucket.url, bucket.process

    @contextmanager
    def away(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)
