"""What keeps the order of the classes: what is known of a value at the end of a classifier.

Let z be the logits. A value with an entry a class is `Ordered` where, at each input, entry i is ``h(z_i)``, with one h
for all classes (another one at another input, where it holds a sum over the classes, say) that nowhere falls, or
nowhere rises, and takes its value at the largest logit at no smaller one. So the largest entries are those of the
largest logits, ties and all, which is what decides. A value is `Shared` where it is one number for all classes.

This is about real numbers, of which ranges are closed intervals, rounded outward. What is undefined somewhere in the
range of what it is of, like a logarithm, is not known. What each operator makes of what is known, it says in
`Operator.order`, by the rules here.
"""

import math
from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Range(NamedTuple):
    """Where a real number lies: in [low, high], and not at 0 where ``nonzero``."""

    low: float = -math.inf
    high: float = math.inf
    nonzero: bool = False

    @property
    def sign(self) -> int:
        """1: it is positive; -1: it is negative; 0: neither is certain."""
        if self.low > 0 or (self.low == 0 and self.nonzero):
            return 1
        return -1 if self.high < 0 or (self.high == 0 and self.nonzero) else 0


EVERYTHING, POSITIVE, NEGATIVE = Range(), Range(0.0, math.inf, nonzero=True), Range(-math.inf, 0.0, nonzero=True)
UNIT, SYMMETRIC = Range(0.0, 1.0, nonzero=True), Range(-1.0, 1.0)


class Shared(NamedTuple):
    """One number for all classes; ``total_of``: the value whose entries it is the sum of, where it is one."""

    range: Range = EVERYTHING
    total_of: str = ""


class Ordered(NamedTuple):
    """An entry a class, in the order of the logits (``rising``) or in the opposite one.

    ``probabilities``: the entries are positive and add up to 1.
    """

    range: Range = EVERYTHING
    rising: bool = True
    probabilities: bool = False


Known = Shared | Ordered


class Given(NamedTuple):
    """One input of an operator: what is known of it, its shape a sample, and its name in the graph."""

    value: Known
    shape: Shape
    name: str


def constant(array: np.ndarray) -> Shared | None:
    """One number for all classes, or None."""
    first = float(array.flat[0])
    return number(first) if math.isfinite(first) and np.all(array == array.flat[0]) else None


def number(value: float) -> Shared:
    """It, the same for all classes."""
    return Shared(Range(value, value, value != 0))


def moved(value: Known, to: Range, *, rising: bool = True) -> Known:
    """A strictly monotone function of it."""
    return Shared(to) if isinstance(value, Shared) else Ordered(to, value.rising == rising)


def negated(value: Known | None) -> Known | None:
    """Minus it."""
    if value is None:
        return None
    low, high, nonzero = value.range
    return moved(value, Range(-high, -low, nonzero), rising=False)


def reciprocal(value: Known | None) -> Known | None:
    """One over it; None: it may be 0."""
    if value is None or not value.range.sign:
        return None
    return moved(value, POSITIVE if value.range.sign > 0 else NEGATIVE, rising=False)


def plus(a: Known | None, b: Known | None) -> Known | None:
    """The sum."""
    if a is None or b is None:
        return None
    low, high, _ = _outward(a.range.low + b.range.low, a.range.high + b.range.high)
    signs = a.range.sign, b.range.sign
    if min(a.range.low, b.range.low) >= 0:
        made = Range(max(low, 0.0), high, 1 in signs)
    elif max(a.range.high, b.range.high) <= 0:
        made = Range(low, min(high, 0.0), -1 in signs)
    else:
        made = Range(low, high)
    if isinstance(a, Shared):
        return Shared(made) if isinstance(b, Shared) else Ordered(made, b.rising)
    return Ordered(made, a.rising) if isinstance(b, Shared) or a.rising == b.rising else None


def times(a: Known | None, b: Known | None) -> Known | None:
    """The product."""
    if a is None or b is None:
        return None
    products = [x * y if x and y else 0.0 for x in a.range[:2] for y in b.range[:2]]
    (low, high, _), sign = _outward(min(products), max(products)), a.range.sign * b.range.sign
    made = Range(max(low, 0.0) if sign > 0 else low, min(high, 0.0) if sign < 0 else high, sign != 0)
    if isinstance(a, Shared):
        a, b = b, a
    if isinstance(a, Shared):
        return Shared(made)
    if isinstance(b, Shared):
        return Ordered(made, a.rising == (b.range.sign > 0)) if b.range.sign else None
    return Ordered(made, a.rising) if a.range.sign == b.range.sign == 1 and a.rising == b.rising else None


def _outward(low: float, high: float) -> Range:
    return Range(math.nextafter(low, -math.inf), math.nextafter(high, math.inf))


def clipped(value: Known, low: float | None, high: float | None, classes: int) -> Known | None:
    """Between two limits, where it makes no tie at the top: entries beyond a limit become equal."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if low <= value.range.low and value.range.high <= high:
        return value  # there is nothing to cut
    made = Range(min(max(value.range.low, low), high), min(max(value.range.high, low), high))
    if isinstance(value, Shared):
        return Shared(made)
    # The largest of K probabilities is 1/K at least, and every smaller one is below 1/2.
    decided = value.probabilities and value.rising and high >= 0.5 and low < 1 / classes
    return Ordered(made) if decided else None
