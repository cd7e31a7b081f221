"""Representations as they were last sent, so that a poll that finds nothing changed makes none anew."""

import random
import threading
import time
from collections import OrderedDict
from hashlib import sha256
from typing import NamedTuple

from pydantic import BaseModel

from models.repositories.marks import Mark

MOST_BYTES = 32 * 2**20
ENTRY_BYTES = 2000  # at most, that a representation takes besides its content
FRESH_SECONDS = 10.0  # that what has not ended is shown unchanged at most: some of it is a matter of time

Key = tuple[str, str, str]
"""Tenant, table, id."""


class Kept(NamedTuple):
    """A representation, and the mark that its row had before it was made."""

    mark: Mark | None
    ended: bool
    content: bytes
    tag: str
    headers: dict[str, str]
    until: float
    """Of ``time.monotonic``."""


def kept(resource: BaseModel, *, mark: Mark | None, ended: bool, headers: dict[str, str]) -> Kept:
    """``resource`` as JSON with a strong ETag, which is of these bytes."""
    content = resource.model_dump_json().encode()
    # not all at once, when many were first asked for together
    until = float("inf") if ended else time.monotonic() + FRESH_SECONDS * random.uniform(0.5, 1)  # noqa: S311
    return Kept(mark, ended, content, f'"{sha256(content).hexdigest()[:32]}"', headers, until)


class Shelf:
    """What was sent lately, up to ``MOST_BYTES`` of it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, key: Key) -> bool:
        """Whether anything is kept of the row, be it what it was."""
        return key in self._kept

    def get(self, key: Key, mark: Mark) -> Kept | None:
        """What is kept of the row, if that is still what would be made."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.mark != mark or time.monotonic() > found.until:
                return None
            self._kept.move_to_end(key)
            return found

    def put(self, key: Key, new: Kept) -> None:
        """Keep it in place of the last one."""
        with self._lock:
            old = self._kept.pop(key, None)
            self._kept[key] = new
            self._bytes += _bytes(new) - (_bytes(old) if old else 0)
            while self._bytes > MOST_BYTES:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _bytes(kept: Kept) -> int:
    """What it takes, about."""
    return len(kept.content) + ENTRY_BYTES
