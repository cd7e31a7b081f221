"""The shared values, to 1e-12 (rounding of the reference itself included)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance import load
from tests.training import check_layers, check_sigma1

Check = Callable[[dict[str, Any]], Iterator[tuple[str, float, float]]]


@pytest.mark.parametrize(
    ("name", "check", "count"), [("layers", check_layers.differences, 179), ("sigma1", check_sigma1.differences, 16)]
)
def test_every_value(name: str, check: Check, count: int) -> None:
    found = list(check(load(f"training/{name}")))
    assert len(found) >= count
    assert [one for one in found if not abs(one[1] - one[2]) <= 1e-12 * max(1.0, abs(one[2]))] == []
