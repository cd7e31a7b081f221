"""Integers of shape arithmetic: ``slope * batch + offset``, the batch size being the only unknown.

Exporters write ``x.view(x.size(0), -1)`` as a dozen nodes on integers. They are evaluated at import in plain
integers; an `Affine` stands where the batch size enters. What isn't affine, or can't be decided for every
batch size >= 1, is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from radii.graph.errors import Refusal

INT64 = 2**63
FIXED_SIZES = "Export with fixed sizes: nothing may be computed from the batch size"


def _refusal(what: str) -> Refusal:
    return Refusal(f"{what} depends on the batch size", FIXED_SIZES)


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``slope * batch + offset`` with slope != 0, for every batch >= 1."""

    slope: int
    offset: int

    def __add__(self, other: Any) -> "Affine | int":
        slope, offset = _parts(other)
        return affine(self.slope + slope, self.offset + offset)

    def __mul__(self, other: Any) -> "Affine | int":
        slope, factor = _parts(other)
        if slope:
            raise _refusal("a product of sizes that is not linear")
        return affine(self.slope * factor, self.offset * factor)

    def __floordiv__(self, other: Any) -> "Affine | int":
        slope, divisor = _parts(other)
        if slope and (self.slope * divisor == self.offset * slope) and self.slope % slope == 0:
            return self.slope // slope
        if slope or divisor == 0 or self.slope % divisor or self.offset % divisor:
            raise _refusal("a quotient of sizes")
        return affine(self.slope // divisor, self.offset // divisor)

    def __neg__(self) -> "Affine | int":
        return self * -1

    def __sub__(self, other: Any) -> "Affine | int":
        slope, offset = _parts(other)
        return affine(self.slope - slope, self.offset - offset)

    def __rsub__(self, other: Any) -> "Affine | int":
        slope, offset = _parts(other)
        return affine(slope - self.slope, offset - self.offset)

    def __rfloordiv__(self, other: Any) -> "Affine | int":
        raise _refusal("a quotient of sizes")

    __radd__ = __add__
    __rmul__ = __mul__

    def _compare(self, other: Any, holds: Callable[[int], bool]) -> bool:
        """Whether ``self - other`` is on one side of zero, the same one for every batch >= 1."""
        difference = self - other
        if isinstance(difference, int):
            return holds(difference)
        first, last = holds(difference.slope + difference.offset), holds(difference.slope)  # at 1, at infinity
        if first != last:
            raise _refusal("a comparison of sizes")
        return first

    def __eq__(self, other: object) -> bool:
        difference = self - other
        if isinstance(difference, int):
            return difference == 0
        root, rest = divmod(-difference.offset, difference.slope)
        if rest == 0 and root >= 1:
            raise _refusal("a comparison of sizes")
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, lambda difference: difference < 0)

    def __gt__(self, other: Any) -> bool:
        return self._compare(other, lambda difference: difference > 0)

    def __le__(self, other: Any) -> bool:
        return self._compare(other, lambda difference: difference <= 0)

    def __ge__(self, other: Any) -> bool:
        return self._compare(other, lambda difference: difference >= 0)

    __hash__ = None  # type: ignore[assignment]  # equality may be undecidable


BATCH = Affine(1, 0)


def affine(slope: int, offset: int) -> Affine | int:
    """``slope * batch + offset``, a plain integer where the batch drops out."""
    if not (-INT64 <= slope < INT64 and -INT64 <= offset < INT64):
        raise Refusal("a size overflows 64 bits", "Export the model again")
    return Affine(slope, offset) if slope else offset


def _parts(value: Any) -> tuple[int, int]:
    if isinstance(value, Affine):
        return value.slope, value.offset
    if isinstance(value, float | np.floating):
        raise _refusal("a number that is not an integer")
    return 0, int(value)


def settle(array: np.ndarray) -> np.ndarray:
    """An object array as int64 where no entry depends on the batch."""
    if array.dtype != object or any(isinstance(entry, Affine) for entry in array.flat):
        return array
    if not all(-INT64 <= entry < INT64 for entry in array.flat):
        raise Refusal("a size overflows 64 bits", "Export the model again")
    return array.astype(np.int64)
