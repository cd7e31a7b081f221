"""Intervals of real numbers, many at a time, rounded outward; on an unbounded interval also how they grow.

``+ - *`` and division of float64 are correctly rounded, so one step of `numpy.nextafter` outward is enough; NumPy's
and SciPy's elementary functions are trusted to 2^-47 of their value (they err by a few times 2^-53; the tests look),
bell curves made of several of them to 2^-43. Formulas: docs/numerics.md 2.9.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.graph.cone.growth import Growth

Floats = npt.NDArray[np.float64]
MAX = np.finfo(np.float64).max
LIBRARY = 2.0**-47
BELL = 2.0**-43
TINY = 1e-290


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """(n,) intervals ``lo <= v <= hi``; an infinite end means unbounded. ``growth`` is of a single unbounded cell."""

    lo: Floats
    hi: Floats
    growth: Growth | None = None

    def __add__(self, other: "Interval | float") -> "Interval":
        other = self.like(other)
        lo, hi = _out(self.lo + other.lo, self.hi + other.hi)
        if not (self.growth and other.growth):
            return enclosed(lo, hi)
        signs = [(float(i.lo[0]) >= 0, float(i.hi[0]) <= 0) for i in (self, other)]
        growth = self.growth.plus(other.growth, any(a and b for a, b in zip(*signs, strict=True)))
        for one, two, (positive, negative) in zip((self, other), (other, self), signs, strict=True):
            if one.growth.outweighs(two.growth):  # type: ignore[union-attr, arg-type]
                lo = np.maximum(lo, growth.infimum()) if positive else lo
                hi = np.minimum(hi, -growth.infimum()) if negative else hi
        return enclosed(lo, hi, growth)

    def __mul__(self, other: "Interval | float") -> "Interval":
        other = self.like(other)
        ends = [_product(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        growth = self.growth.times(other.growth) if self.growth and other.growth else None
        return enclosed(*_out(np.minimum.reduce(ends), np.maximum.reduce(ends)), growth)

    def __neg__(self) -> "Interval":
        return Interval(-self.hi, -self.lo, self.growth)

    def __sub__(self, other: "Interval | float") -> "Interval":
        return self + -self.like(other)

    def like(self, value: "Interval | float") -> "Interval":
        """A constant as an interval of this shape."""
        if isinstance(value, Interval):
            return value
        ends = np.full(self.lo.shape, float(value))
        growth = Growth(self.growth.start).known_within(value, value) if self.growth else None
        return Interval(ends, ends, growth)

    def hull(self, other: "Interval") -> "Interval":
        """The smallest interval that holds both."""
        growth = None
        if self.growth and other.growth:
            growth = self.magnitude().growth.plus(other.magnitude().growth, True)  # type: ignore[union-attr, arg-type]
            growth = Growth(growth.start, growth.a, growth.p, growth.k)
        return enclosed(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi), growth)

    def choose(self, other: "Interval", mine: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> "Interval":
        """This where ``mine``, the other where ``theirs``, both elsewhere."""
        if self.growth:
            return self if mine[0] else other if theirs[0] else self.hull(other)
        both = self.hull(other)
        lo = np.where(mine, self.lo, np.where(theirs, other.lo, both.lo))
        return Interval(lo, np.where(mine, self.hi, np.where(theirs, other.hi, both.hi)))

    def magnitude(self) -> "Interval":
        """``|v|``."""
        return Interval(np.maximum(0.0, np.maximum(self.lo, -self.hi)), np.maximum(-self.lo, self.hi), self.growth)

    def symmetric(self) -> "Interval":
        """``[-v, v]`` of an upper bound v >= 0."""
        growth = self.growth
        growth = growth and Growth(growth.start, growth.a, growth.p, growth.k)
        return Interval(-self.hi, self.hi, growth)

    def reciprocal(self) -> "Interval":
        """``1/v``; everything where v may be 0."""
        crosses = (self.lo <= 0) & (self.hi >= 0)
        lo, hi = _out(1 / self.hi, 1 / self.lo)
        growth = None if self.growth is None or crosses[0] else self.growth.reciprocal()
        growth = growth or (self.growth and Growth(self.growth.start))
        return enclosed(np.where(crosses, -np.inf, lo), np.where(crosses, np.inf, hi), growth)

    def monotone(self, function: Callable[[Floats], Floats], growth: Growth | None) -> "Interval":
        """An increasing library function."""
        lo, hi = function(self.lo), function(self.hi)
        return enclosed(lo - _slack(lo), hi + _slack(hi), growth)

    def bump(self, function: Callable[[Floats], Floats], growth: Growth | None) -> "Interval":
        """A library function of |v| that falls, and is positive."""
        size = self.magnitude()
        lo, hi = function(size.hi), function(size.lo)
        return enclosed(np.maximum(0.0, lo - _slack(lo, BELL)), hi + _slack(hi, BELL), growth)


def enclosed(lo: Floats, hi: Floats, growth: Growth | None = None) -> Interval:
    """An interval whose NaN ends mean unbounded, narrowed by its growth."""
    lo = np.minimum(np.where(np.isnan(lo), -np.inf, lo), MAX)
    hi = np.maximum(np.where(np.isnan(hi), np.inf, hi), -MAX)
    if growth is None:
        return Interval(lo, hi)
    log_most = growth.log_supremum()
    most = math.exp(log_most) * (1 + 1e-12) + TINY if log_most < 700 else math.inf
    lo, hi = np.maximum(lo, -most), np.minimum(hi, most)
    return Interval(lo, hi, growth.known_within(float(lo[0]), float(hi[0])))


def _out(lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    return np.nextafter(lo, -np.inf), np.nextafter(hi, np.inf)


def _product(a: Floats, b: Floats) -> Floats:
    return np.where((a == 0) | (b == 0), 0.0, a * b)  # an infinite end is a bound, not a value


def _slack(value: Floats, relative: float = LIBRARY) -> Floats:
    return np.where(np.isfinite(value), np.abs(value) * relative + TINY, 0.0)
