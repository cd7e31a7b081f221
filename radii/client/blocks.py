"""A file, or bytes, in the blocks in which they are sent."""

from collections.abc import Callable, Iterator
from pathlib import Path

OnBytes = Callable[[int, int], None]  # bytes sent so far, bytes in all

BLOCK = 1 << 18  # bytes; small enough for a progress bar to move


def blocks(source: Path | str | bytes, size: int, on_bytes: OnBytes | None) -> Iterator[bytes]:
    """The blocks of ``source``, of ``size`` bytes; ``on_bytes`` hears of each."""
    sent = 0
    for block in _read(source):
        yield block
        sent += len(block)
        if on_bytes:
            on_bytes(sent, size)


def _read(source: Path | str | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield from (source[start : start + BLOCK] for start in range(0, len(source), BLOCK))
        return
    with Path(source).open("rb") as file:
        while block := file.read(BLOCK):
            yield block
