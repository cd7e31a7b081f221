"""Integers affine in the batch: like plain ones at every batch size, or refused."""

from collections.abc import Callable
from typing import Any

import pytest

from radii.graph.affine import BATCH, Affine, affine
from radii.graph.errors import Refusal

BATCHES = (1, 2, 3, 10)


def at(value: Any, batch: int) -> int:
    return value.slope * batch + value.offset if isinstance(value, Affine) else int(value)


@pytest.mark.parametrize("a", [affine(2, 4), affine(-3, 1), BATCH])
@pytest.mark.parametrize("b", [0, 2, -5, affine(1, 2), affine(-2, 7)])
def test_affine_agrees_with_integers_at_every_batch(a: Affine, b: Any) -> None:
    for batch in BATCHES:
        assert at(a + b, batch) == at(a, batch) + at(b, batch)
        assert at(b + a, batch) == at(b, batch) + at(a, batch)
        assert at(a - b, batch) == at(a, batch) - at(b, batch)
        assert at(b - a, batch) == at(b, batch) - at(a, batch)
        assert at(-a, batch) == -at(a, batch)
        if isinstance(b, int):
            assert at(a * b, batch) == at(b * a, batch) == at(a, batch) * b


@pytest.mark.parametrize("a", [affine(2, 4), affine(-3, 1), BATCH])
@pytest.mark.parametrize("b", [-7, -2, -1, 0, 1, 2, 6, affine(1, 2), affine(2, 4)])
def test_comparisons_are_decided_for_every_batch_or_refused(a: Affine, b: Any) -> None:
    for compare in ("__eq__", "__ne__", "__lt__", "__gt__", "__le__", "__ge__"):
        truths = {getattr(at(a, batch), compare)(at(b, batch)) for batch in range(1, 60)}
        try:
            assert truths == {getattr(a, compare)(b)}
        except Refusal:
            assert compare in ("__le__", "__ge__") or len(truths) == 2  # <= at equality at batch 1 may stay open


def test_what_is_not_affine_is_refused() -> None:
    assert affine(4, 8) // 2 == affine(2, 4)
    assert affine(4, 8) // affine(1, 2) == 4
    attempts: list[Callable[[], object]] = [
        lambda: BATCH * BATCH,
        lambda: BATCH // 2,
        lambda: affine(2, 1) // 2,
        lambda: 4 // BATCH,
        lambda: BATCH * 0.5,
        lambda: BATCH // 0,
        lambda: BATCH * 2**63,
    ]
    for attempt in attempts:
        with pytest.raises(Refusal):
            attempt()
