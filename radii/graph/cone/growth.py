"""How a quantity behaves far out, for |x| >= R: what makes an interval search end on an unbounded line.

For t = |x| >= R a `Growth` states ``exp(c) t^q <= |v| <= exp(a) t^p e^(-k t)``. Products of what grows and what
decays, on which plain interval arithmetic says "infinity times zero", then have a finite supremum. Everything is kept
in logarithms and padded by far more than its rounding: out there a loose bound does no harm. Powers stay multiples of
1/64, so that they add up exactly. Formulas: docs/numerics.md 2.9.
"""

import math
from dataclasses import dataclass, replace

PAD = 1e-10
MOST = 1e300


def _up(value: float) -> float:
    return value + PAD * (abs(value) + 1) if math.isfinite(value) else value


def _down(value: float) -> float:
    return -_up(-value)


@dataclass(frozen=True, slots=True)
class Growth:
    """``exp(c) t^q <= |v| <= exp(a) t^p e^(-k t)`` for t >= ``start`` >= 1; a = inf, c = -inf: nothing is known."""

    start: float
    a: float = math.inf
    p: float = 0.0
    k: float = 0.0
    c: float = -math.inf
    q: float = 0.0

    def log_supremum(self, power: float = 0.0) -> float:
        """An upper bound of ``log sup |v| / t^power``."""
        return _log_supremum(self.a, self.p - power, self.k, self.start)

    def times(self, other: "Growth") -> "Growth":
        """The growth of the product of two quantities."""
        nothing = -math.inf in (self.a, other.a)
        return Growth(
            self.start,
            -math.inf if nothing else _up(self.a + other.a),
            self.p + other.p,
            min(MOST, (self.k + other.k) * (1 - PAD)),
            -math.inf if -math.inf in (self.c, other.c) else _down(self.c + other.c),
            self.q + other.q,
        )

    def plus(self, other: "Growth", same_sign: bool) -> "Growth":
        """The growth of the sum of two quantities; ``same_sign``: neither lessens the other."""
        slow, fast = (self, other) if (self.k, -self.p) <= (other.k, -other.p) else (other, self)
        if slow.a == -math.inf:  # zero
            a, slow = fast.a, fast
        else:
            a = _log_sum(slow.a, _log_supremum(fast.a, fast.p - slow.p, fast.k - slow.k, self.start))
        options = []
        for one, two in ((self, other), (other, self)):
            if one.c == -math.inf:
                continue
            if same_sign:
                options.append((one.q, one.c))
                continue
            if one.outweighs(two):
                loss = two.log_supremum(one.q) - one.c
                options.append((one.q, _down(one.c + math.log1p(-math.exp(loss)))))
        q, c = max(options, default=(0.0, -math.inf))
        return Growth(self.start, a, slow.p, slow.k, c, q)

    def outweighs(self, other: "Growth") -> bool:
        """Whether the sum has the sign of this quantity: it is larger everywhere."""
        return self.c > -math.inf and other.log_supremum(self.q) - self.c < -PAD

    def infimum(self) -> float:
        """A lower bound of ``|v|``."""
        return math.exp(min(690.0, _down(self.c + self.q * math.log(self.start)))) if self.q >= 0 else 0.0

    def power(self, exponent: float) -> "Growth":
        """The growth of ``|v|^exponent``, the exponent a positive multiple of 1/64 that keeps powers exact."""
        a = self.a if math.isinf(self.a) else _up(self.a * exponent)
        c = self.c if math.isinf(self.c) else _down(self.c * exponent)
        p, q = self.p * exponent, self.q * exponent
        if p * 64 % 1 or q * 64 % 1:
            return Growth(self.start)
        return Growth(self.start, a, p, min(MOST, self.k * exponent * (1 - PAD)), c, q)

    def reciprocal(self) -> "Growth":
        """The growth of ``1/v``."""
        a, p = (math.inf, 0.0) if self.c == -math.inf else (-self.c, -self.q)
        c, q = (-self.a, -self.p) if self.k == 0 and math.isfinite(self.a) else (-math.inf, 0.0)
        return Growth(self.start, a, p, 0.0, c, q)

    def decay(self, factor: float, power: float) -> "Growth":
        """The growth of anything between 0 and ``exp(-factor |v|^power)``."""
        q = self.q * power
        if self.c == -math.inf or q < 1:
            return Growth(self.start, 0.0)
        log_rate = math.log(factor) + self.c * power + (q - 1) * math.log(self.start)
        return Growth(self.start, 0.0, 0.0, math.exp(min(_down(log_rate), math.log(MOST))))

    def known_within(self, lo: float, hi: float) -> "Growth":
        """This growth, made sharper by ``lo <= v <= hi``."""
        largest, least = max(abs(lo), abs(hi)), max(lo, -hi, 0.0)
        result = self
        if self.a == math.inf or (self.p > 0 and self.k == 0 and math.isfinite(largest)):
            a = -math.inf if largest == 0 else math.log(largest) if math.isfinite(largest) else math.inf
            result = replace(result, a=_up(a), p=0.0, k=0.0)
        if least > 0 and self.c == -math.inf:
            result = replace(result, c=_down(math.log(min(least, MOST))), q=0.0)
        return result


def _log_supremum(a: float, p: float, k: float, start: float) -> float:
    """An upper bound of ``sup log(exp(a) t^p e^(-k t))`` over t >= start."""
    if math.isinf(a):
        return a
    if p > 0 and k <= 0:
        return math.inf
    at = max(start, p / k) if k > 0 else start
    terms = (a, p * math.log(at), -k * at)
    return sum(terms) + 4 * PAD * (sum(map(abs, terms)) + 1)


def _log_sum(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if math.isinf(high) else _up(high + math.log1p(math.exp(low - high)))
