"""How far outputs that should be the same are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def difference(found: Tensor, expected: Tensor, *, share: float) -> float:
    """The largest difference between rows (n, outputs), relative to the size of its column of ``expected``.

    A column's size is its largest entry, but at least ``share`` of the largest of all: a column may be what is left of
    numbers as large as the others', with their rounding. Infinite where the shapes differ, or what is finite.
    """
    finite = expected.isfinite()
    if found.shape != expected.shape or not bool((found.isfinite() == finite).all()):
        return float("inf")
    size = expected.where(finite, 0).abs().flatten(1).amax(0)
    size = size.clamp(min=share * float(size.max())).where(size.max() > 0, 1)
    gap = (found - expected).where(finite, 0).abs().flatten(1).amax(0)
    return float((gap / size).max())
