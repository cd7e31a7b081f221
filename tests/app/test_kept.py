"""What is kept takes no more memory than it may, and what was asked for last stays."""

import tracemalloc

import pytest
from pydantic import BaseModel

from app import kept as module
from app.kept import Key, Shelf, kept


class Some(BaseModel):
    text: str


def put(shelf: Shelf, number: int, text: str = "") -> Key:
    key = ("default", "certifications", f"cert_{number:032x}")
    mark = ((1, None, None, None, None, False),)
    shelf.put(key, kept(Some(text=text), mark=mark, ended=number % 2 == 0, headers={"Retry-After": "1"}))
    return key


@pytest.mark.parametrize("size", [0, 5000])
def test_its_memory_is_bounded_however_small_they_are(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2**20)
    shelf = Shelf()
    tracemalloc.start()
    try:
        for number in range(5000):
            last = put(shelf, number, "x" * size)
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()
    assert last in shelf and ("default", "certifications", f"cert_{0:032x}") not in shelf


def test_what_was_asked_for_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3 * (module.ENTRY_BYTES + 1000))
    shelf = Shelf()
    mark = ((1, None, None, None, None, False),)
    first, second, third = (put(shelf, number, "x" * 900) for number in (0, 2, 4))
    found = shelf.get(first, mark)
    assert found is not None and found.content == b'{"text":"' + b"x" * 900 + b'"}'
    assert shelf.get(first, ((2, None, None, None, None, False),)) is None  # it has changed since
    put(shelf, 6, "x" * 900)
    assert first in shelf and third in shelf and second not in shelf
    put(shelf, 0, "x" * 10)  # in place of the former one, whose bytes are free
    put(shelf, 8, "x" * 900)
    assert first in shelf
