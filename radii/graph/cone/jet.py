"""A function of one variable on many cells at once: its values, two derivatives, and what evaluating it loses.

Forward automatic differentiation in interval arithmetic. Every bound holds over the whole cell.
Formulas: docs/numerics.md 2.9.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from radii.graph.cone.growth import Growth
from radii.graph.cone.interval import Floats, Interval, enclosed

ROUNDING = 2.0**-44  # what one float64 operation or elementary function of torch may lose, of its value: 512 ulp
OVERFLOW = 700.0  # exp of more is infinite in float64

Bools = npt.NDArray[np.bool_]


def erf(x: Floats) -> Floats:
    """SciPy's, which is loaded when it is first used: that takes a tenth of a second."""
    made: Floats = scipy.special.erf(x)
    return made


def expit(x: Floats) -> Floats:
    """SciPy's, likewise."""
    made: Floats = scipy.special.expit(x)
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Jet:
    """``value``, ``slope`` (almost everywhere) and ``curvature`` (everything, where there is a kink).

    ``error`` bounds ``|computed - true|``, ``jump`` the sum of the jumps within the cell. Without the jumps the
    function is continuous.
    """

    value: Interval
    slope: Interval
    curvature: Interval
    error: Interval
    jump: Floats

    def __add__(self, other: "Jet") -> "Jet":
        value = self.value + other.value
        return Jet(
            value,
            self.slope + other.slope,
            self.curvature + other.curvature,
            _lost(self.error + other.error, value),
            self.jump + other.jump,
        )

    def __neg__(self) -> "Jet":
        return Jet(-self.value, -self.slope, -self.curvature, self.error, self.jump)

    def __sub__(self, other: "Jet") -> "Jet":
        return self + -other

    def __mul__(self, other: "Jet") -> "Jet":
        value = self.value * other.value
        mine, theirs = self.value.magnitude(), other.value.magnitude()
        error = mine * other.error + theirs * self.error + self.error * other.error
        jump = _times(mine.hi, other.jump) + _times(theirs.hi, self.jump) + self.jump * other.jump
        return Jet(
            value,
            self.slope * other.value + self.value * other.slope,
            self.curvature * other.value + self.slope * other.slope * 2.0 + self.value * other.curvature,
            _lost(error, value),
            jump,
        )

    def scaled(self, factor: float, exact: bool = True) -> "Jet":
        """This jet times a number, ``exact`` as in `constant`."""
        return self * self.constant(factor, exact)

    def constant(self, number: float, exact: bool = True) -> "Jet":
        """A constant on the same cells; not ``exact``: the real number that ``number`` was rounded from."""
        zero, value = self.value.like(0.0), self.value.like(number)
        if not exact:
            value = enclosed(np.nextafter(value.lo, -np.inf), np.nextafter(value.hi, np.inf), value.growth)
        return Jet(value, zero, zero, zero, np.zeros_like(self.jump))

    def then(
        self,
        value: Interval,
        slope: Callable[[Interval], Interval],
        curvature: Callable[[Interval], Interval],
    ) -> "Jet":
        """A function of this, given its values, and its derivatives as functions of an interval."""
        steepness = slope(self.value)
        near = slope(self.value + self.error.symmetric()).magnitude()  # where the computed argument may lie
        return Jet(
            value,
            steepness * self.slope,
            curvature(self.value) * self.slope * self.slope + steepness * self.curvature,
            _lost(near * self.error, value),
            _times(steepness.magnitude().hi, self.jump),
        )

    def choose(self, other: "Jet", mine: Bools, theirs: Bools) -> "Jet":
        """This where ``mine``, the other where ``theirs``; elsewhere one of the two, changing over once."""
        open_ = ~(mine | theirs)
        gap = (self.value - other.value).magnitude().hi
        kink = self.curvature.choose(other.curvature, mine, theirs)
        kink = Interval(np.where(open_, -np.inf, kink.lo), np.where(open_, np.inf, kink.hi), kink.growth)
        jumps = self.jump + other.jump + gap + self.error.hi + other.error.hi
        return Jet(
            self.value.choose(other.value, mine, theirs),
            self.slope.choose(other.slope, mine, theirs),
            kink,
            self.error.choose(other.error, mine, theirs),
            np.where(mine, self.jump, np.where(theirs, other.jump, jumps)),
        )


def _lost(error: Interval, value: Interval) -> Interval:
    """An error on the way in, and one rounding more."""
    return error + value.magnitude() * ROUNDING


def _times(size: Floats, jump: Floats) -> Floats:
    return np.where(jump == 0, 0.0, size * jump * (1 + 1e-12))


def variable(lo: Floats, hi: Floats, start: float = 0.0) -> Jet:
    """``x`` itself on cells; ``start``: the one cell is [start, inf) or (-inf, -start]."""
    growth = Growth(start, 0.0, 1.0, 0.0, 0.0, 1.0) if start else None
    x = Interval(lo, hi, growth)
    return Jet(x, x.like(1.0), x.like(0.0), x.like(0.0), np.zeros(lo.shape))


def kinked(u: Jet, left: float, right: float) -> Jet:
    """``left u`` for u < 0 and ``right u`` else."""
    v = u.value
    below, above = v.hi <= 0, v.lo >= 0
    value = (v * left).choose(v * right, below, above)

    def slope(at: Interval) -> Interval:
        return at.like(left).choose(at.like(right), at.hi <= 0, at.lo >= 0)

    return u.then(value, slope, lambda at: _flat(at, (at.hi <= 0) | (at.lo >= 0)))


def _flat(at: Interval, sure: Bools) -> Interval:
    growth = Growth(at.growth.start) if at.growth else None
    return enclosed(np.where(sure, 0.0, -np.inf), np.where(sure, 0.0, np.inf), growth)


def clipped(u: Jet, low: float, high: float) -> Jet:
    """Between two numbers."""
    if not low < high:
        return u.constant(high)
    v = u.value
    growth = v.growth
    if growth and not (v.lo[0] >= low and v.hi[0] <= high):
        growth = Growth(growth.start)
    value = enclosed(np.clip(v.lo, low, high), np.clip(v.hi, low, high), growth)

    def outside(at: Interval) -> Bools:
        return (at.hi <= low) | (at.lo >= high)

    def inside(at: Interval) -> Bools:
        return (at.lo >= low) & (at.hi <= high)

    def slope(at: Interval) -> Interval:
        return at.like(0.0).choose(at.like(1.0), outside(at), inside(at))

    return u.then(value, slope, lambda at: _flat(at, outside(at) | inside(at)))


def extreme(u: Jet, w: Jet, largest: bool) -> Jet:
    """The larger, or the smaller, of two: continuous, so nothing jumps."""
    first, second = (u, w) if largest else (w, u)
    mine, theirs = first.value.lo >= second.value.hi, second.value.lo >= first.value.hi
    if not largest:
        first, second = second, first
    chosen = first.choose(second, mine, theirs & ~mine)
    value = chosen.value
    if value.growth is None:
        bound = np.maximum if largest else np.minimum
        value = Interval(bound(u.value.lo, w.value.lo), bound(u.value.hi, w.value.hi))
    return Jet(value, chosen.slope, chosen.curvature, _lost(u.error + w.error, value), u.jump + w.jump)


def _decay(at: Interval, factor: float, power: float = 1.0) -> Growth | None:
    return at.growth and at.growth.decay(factor, power)


def _gate_slope(at: Interval) -> Interval:
    growth = _decay(at, 1.0)  # sigmoid' <= e^-|u|
    return at.bump(lambda t: expit(t) * expit(-t), growth)


def sigmoid(u: Jet) -> Jet:
    v = u.value
    value = v.monotone(expit, _decay(v, 1.0) if v.hi[0] <= 0 else v.growth and Growth(v.growth.start))
    return u.then(value, _gate_slope, lambda at: _gate_slope(at) * (at.monotone(expit, None) * -2.0 + 1.0))


def softplus(u: Jet) -> Jet:
    v, growth = u.value, None
    if v.growth:
        if v.hi[0] <= 0:
            growth = v.growth.decay(1.0, 1.0)  # log(1 + e^u) <= e^u
        else:
            growth = v.growth.plus(Growth(v.growth.start, 0.0), same_sign=bool(v.lo[0] >= 0))
    value = v.monotone(lambda t: np.logaddexp(t, 0.0), growth)

    def slope(at: Interval) -> Interval:
        return at.monotone(expit, _decay(at, 1.0) if at.hi[0] <= 0 else at.growth and Growth(at.growth.start))

    return u.then(value, slope, _gate_slope)


def tanh(u: Jet) -> Jet:
    v = u.value
    growth = v.growth and Growth(v.growth.start, v.growth.a, v.growth.p, v.growth.k)  # |tanh u| <= |u|

    def slope(at: Interval) -> Interval:
        decay = _decay(at, 2.0)
        decay = decay and Growth(decay.start, math.log(4.0) + 1e-12, decay.p, decay.k)  # 1/cosh^2 <= 4 e^-2|u|
        return at.bump(lambda t: 1 / np.cosh(t) ** 2, decay)

    return u.then(v.monotone(np.tanh, growth), slope, lambda at: slope(at) * at.monotone(np.tanh, None) * -2.0)


def error_function(u: Jet) -> Jet:
    v = u.value
    growth = v.growth and Growth(v.growth.start, v.growth.a + 0.2, v.growth.p, v.growth.k)  # |erf u| <= 2/sqrt(pi) |u|

    def slope(at: Interval) -> Interval:
        decay = _decay(at, 1.0, 2.0)
        decay = decay and Growth(decay.start, 0.2, decay.p, decay.k)
        return at.bump(lambda t: 2 / math.sqrt(math.pi) * np.exp(-t * t), decay)

    return u.then(v.monotone(erf, growth), slope, lambda at: slope(at) * at * -2.0)


def exponential(u: Jet) -> Jet:
    def exp(at: Interval) -> Interval:
        growth = at.growth
        if growth:
            growth = growth.decay(1.0, 1.0) if at.hi[0] <= 0 else Growth(growth.start, c=growth.c, q=growth.q)
        return at.monotone(np.exp, growth)

    made = u.then(exp(u.value), exp, exp)
    over = u.value.hi > OVERFLOW
    error = Interval(made.error.lo, np.where(over, np.inf, made.error.hi), made.error.growth)
    if error.growth and over[0]:
        error = Interval(error.lo, error.hi, Growth(error.growth.start))
    return Jet(made.value, made.slope, made.curvature, error, made.jump)


def reciprocal(u: Jet) -> Jet:
    def slope(at: Interval) -> Interval:
        inverse = at.reciprocal()
        return -(inverse * inverse)

    def curvature(at: Interval) -> Interval:
        inverse = at.reciprocal()
        return inverse * inverse * inverse * 2.0

    return u.then(u.value.reciprocal(), slope, curvature)


def logarithm(u: Jet) -> Jet:
    v = u.value
    growth = v.growth and (v.growth if v.lo[0] >= 1 else Growth(v.growth.start))
    growth = growth and Growth(growth.start, growth.a, growth.p, growth.k)  # 0 <= log u <= u from 1 on
    value = Interval(np.maximum(v.lo, 0.0), np.maximum(v.hi, 0.0)).monotone(np.log, growth)

    def slope(at: Interval) -> Interval:
        return at.reciprocal()

    def curvature(at: Interval) -> Interval:
        return -(at.reciprocal() * at.reciprocal())

    return _positive(u.then(value, slope, curvature), u)


def square_root(u: Jet) -> Jet:
    def root(at: Interval) -> Interval:
        inside = Interval(np.maximum(at.lo, 0.0), np.maximum(at.hi, 0.0))
        return inside.monotone(np.sqrt, at.growth and at.growth.power(0.5))

    def slope(at: Interval) -> Interval:
        return (root(at) * 2.0).reciprocal()

    def curvature(at: Interval) -> Interval:
        inverse = root(at).reciprocal()
        return inverse * inverse * inverse * -0.25

    return _positive(u.then(root(u.value), slope, curvature), u)


def _positive(made: Jet, argument: Jet) -> Jet:
    """Nothing is known where the argument may be negative."""
    bad = (argument.value + argument.error.symmetric()).lo < 0
    if not bad.any():
        return made

    def open_(interval: Interval) -> Interval:
        growth = Growth(interval.growth.start) if interval.growth else None
        return Interval(np.where(bad, -np.inf, interval.lo), np.where(bad, np.inf, interval.hi), growth)

    return Jet(open_(made.value), open_(made.slope), open_(made.curvature), open_(made.error), made.jump)


def power(u: Jet, exponent: float) -> Jet:
    """``u^exponent`` for small natural numbers, their negatives, and halves of them."""
    if exponent < 0:
        return reciprocal(power(u, -exponent))
    if exponent % 1 == 0.5:
        return power(square_root(u), 2 * exponent)
    if exponent == 0:
        return u.constant(1.0)
    made = u
    for _ in range(int(exponent) - 1):
        made = made * u
    return made
