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


@dataclass(eq=False)
class Search:
    """For each sample the largest eps that was proved, the smallest that was not, and the margins at both."""

    low: Floats
    high: Floats
    at_low: Floats
    at_high: Floats
    tried: npt.NDArray[np.int64]

    @classmethod
    def between(cls, low: Floats, high: Floats, at_low: Floats) -> Search:
        """Nothing tried yet."""
        return cls(low.copy(), high.copy(), at_low.copy(), np.full_like(low, np.nan), np.zeros(len(low), np.int64))

    def run(
        self,
        prove: Prove,
        first: Floats,
        *,
        resolution: float = RESOLUTION,
        growth: float = 2.0,
        hints: Floats | None = None,
    ) -> Search:
        """Until low and high are near each other.

        Where nothing is known above, ``first`` is tried, and then ``growth`` times what was proved. ``hints``: where
        `prove` writes about how large an eps it could have proved, of samples that it fails for.
        """
        start, stuck = self.tried.copy(), np.zeros(len(self.low), np.int64)
        hinted, ended = np.zeros((2, len(self.low)), np.bool_)
        with np.errstate(all="ignore"):
            while True:
                open_ = (self.at_low > 0) & (self.high - self.low > resolution * self.high)
                open_ &= (self.tried - start < MOST_TRIES) & (self.high > 0)
                open_ |= (self.at_low > 0) & np.isinf(self.high) & (self.tried - start < MOST_TRIES)
                (samples,) = np.nonzero(open_ & ~ended)
                if not len(samples):
                    return self
                eps = np.array([self._next(i, first[i], int(stuck[i]), resolution, growth) for i in samples.tolist()])
                eps, hinted[samples] = np.where(hinted[samples], self.high[samples] * NEAR, eps), False
                inside = (eps > self.low[samples]) & (eps < self.high[samples])
                if not inside.all():  # low and high are neighbours
                    ended[samples[~inside]] = True
                    samples, eps = samples[inside], eps[inside]
                    if not len(samples):
                        continue
                found = prove(samples, eps)
                self.tried[samples] += 1
                for i, e, margin in zip(samples, eps, found, strict=True):
                    if margin > 0:  # not NaN
                        stuck[i] = max(stuck[i], 0) + 1
                        self.low[i], self.at_low[i] = e, margin
                    else:
                        stuck[i] = min(stuck[i], 0) - 1
                        self.high[i], self.at_high[i] = e, margin
                        if hints is not None and self.low[i] < hints[i] < e:  # it only steers
                            self.high[i], hinted[i] = hints[i], True

    def _next(self, i: int, first: float, stuck: int, resolution: float, growth: float) -> float:
        low, high = float(self.low[i]), float(self.high[i])
        if math.isinf(high):
            return float(first) if low < first else low * growth if low else 1.0
        share = 0.5
        a, b = float(self.at_low[i]), float(self.at_high[i])
        if math.isfinite(a) and math.isfinite(b) and a > 0 >= b:
            share = a / (a - b)
            if abs(stuck) > 1:  # the same end moved twice: a root near the other end
                share = share + (1 - share) / 2 if stuck > 0 else share / 2
        elif low == 0 or low < high / 4:
            share = 0.25
        edge = max(0.4 * resolution * high / (high - low), 0.02)
        return low + min(max(share, edge), 1 - edge) * (high - low)


def smallest(margins: Floats) -> Floats:
    """(N,) the smallest of (N, classes); what is not a number proves nothing."""
    least: Floats = np.where(np.isnan(margins), -np.inf, margins).min(axis=1)
    return least
