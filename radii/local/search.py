"""The largest eps that is proved, by search. Formulas: docs/numerics.md 11.7."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Prove = Callable[[npt.NDArray[np.int64], Floats], Floats]
"""Given samples and an eps for each: lower bounds of their smallest margins."""

RESOLUTION = 1e-3  # relative
MOST_TRIES = 60
NEAR = 1 - 2.0**-34
SHARE = 0.4  # of the resolution: how far beside a root that is foretold a try is made
STEEPEST = 8.0  # by which a radius grows or shrinks at once
GIVEN_UP = 8  # tries after which every other one halves what is left


@dataclass(eq=False)
class Search:
    """For each sample the largest eps that was proved, the smallest that was not, and the margins at both.

    The share of the margin that is lost at eps is close to ``eps exp(c + k eps)``: it grows evenly while bounds are
    tight, and then they loosen. So next comes where this is 1, with c and k from the two tries that came nearest to it;
    the first of them may be what the slope at the input says.
    """

    low: Floats
    high: Floats
    at_zero: Floats
    at_high: Floats
    tried: npt.NDArray[np.int64]
    points: list[list[tuple[float, float]]]  # eps, and the logarithm of the share

    @classmethod
    def between(cls, low: Floats, high: Floats, at_zero: Floats) -> Search:
        """Nothing tried yet; ``at_zero``: the margins at the inputs themselves."""
        count = len(low)
        return cls(low.copy(), high.copy(), at_zero.copy(), np.full(count, np.nan), np.zeros(count, np.int64), [])

    def run(
        self,
        prove: Prove,
        first: Floats,
        *,
        resolution: float = RESOLUTION,
        growth: float = 2.0,
        even: Floats | None = None,
        hints: Floats | None = None,
    ) -> Search:
        """Until low and high are near each other.

        Where nothing is known above, ``first`` is tried, and then ``growth`` times what was proved. ``even``: about
        where the margins would be 0 if they fell as they do at the inputs themselves. ``hints``: where `prove` writes
        about how large an eps it could have proved, of samples that it fails for.
        """
        start = self.tried.copy()
        self.points = [[] for _ in self.low]
        even = np.full(len(self.low), np.nan) if even is None else even
        hinted, ended = np.zeros((2, len(self.low)), np.bool_)
        with np.errstate(all="ignore"):
            while True:
                open_ = (self.at_zero > 0) & (self.high - self.low > resolution * self.high)
                open_ &= (self.tried - start < MOST_TRIES) & (self.high > 0)
                open_ |= (self.at_zero > 0) & np.isinf(self.high) & (self.tried - start < MOST_TRIES)
                (samples,) = np.nonzero(open_ & ~ended)
                if not len(samples):
                    return self
                tries = (self.tried - start)[samples].tolist()
                eps = np.array(
                    [
                        self._next(i, first[i], even[i], count, resolution, growth)
                        for i, count in zip(samples.tolist(), tries, strict=True)
                    ]
                )
                eps, hinted[samples] = np.where(hinted[samples], self.high[samples] * NEAR, eps), False
                inside = (eps > self.low[samples]) & (eps < self.high[samples])
                if not inside.all():  # low and high are neighbours
                    ended[samples[~inside]] = True
                    samples, eps = samples[inside], eps[inside]
                    if not len(samples):
                        continue
                found = prove(samples, eps)
                self.tried[samples] += 1
                for i, e, margin in zip(samples.tolist(), eps.tolist(), found.tolist(), strict=True):
                    left = 1 - margin / self.at_zero[i]
                    if 0 < left < math.inf:
                        self.points[i].append((e, math.log(left)))
                    if margin > 0:  # not NaN
                        self.low[i] = e
                    else:
                        self.high[i], self.at_high[i] = e, margin
                        if hints is not None and self.low[i] < hints[i] < e:  # it only steers
                            self.high[i], hinted[i] = hints[i], True

    def _next(self, i: int, first: float, even: float, tries: int, resolution: float, growth: float) -> float:
        low, high = float(self.low[i]), float(self.high[i])
        if not tries and low < first < high:
            return float(first)
        root, near = _root(self.points[i], float(even)), SHARE * resolution
        if math.isinf(high):
            return min(root * (1 + near), low * STEEPEST) if root > low else low * growth if low else 1.0
        if math.isnan(root) or (tries >= GIVEN_UP and tries % 2):
            return low + (0.25 if low < high / 4 else 0.5) * (high - low)
        beside = root * (1 + near)
        if beside >= high * (1 - near):
            beside = min(root, high) * (1 - near)
        edge = min(near * high, (high - low) / 2)
        return min(max(beside, low + edge, high / STEEPEST), high - edge)


def _root(points: list[tuple[float, float]], even: float) -> float:
    """Where ``log eps + c + k eps`` is 0, about; NaN: nothing is known."""
    nearest = sorted(points, key=lambda point: abs(point[1]))[:2]
    if not nearest:
        return math.nan
    lines = [(eps, y - math.log(eps)) for eps, y in nearest]
    if len(lines) < 2:
        lines.append((0.0, -math.log(even) if even > 0 else lines[0][1] - 1.0))
    (a, at_a), (b, at_b) = lines
    k = max((at_a - at_b) / (a - b), 0.0) if a != b else 1 / a
    u = math.log(a)
    for _ in range(20):  # Newton's steps, in log eps, in which the function is convex and rises
        over = u + at_a + k * (math.exp(u) - a)
        u -= over / (1 + k * math.exp(u))
        if not abs(u) < 700 or abs(over) < 1e-9:
            break
    return math.exp(u) if abs(u) < 700 else math.nan


def smallest(margins: Floats) -> Floats:
    """(N,) the smallest of (N, classes); what is not a number proves nothing."""
    least: Floats = np.where(np.isnan(margins), -np.inf, margins).min(axis=1)
    return least
