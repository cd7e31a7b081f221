"""Bounds on a mean score in [0, 1]: how often is not all that is known when the classifier gives probabilities.
Formulas: docs/numerics.md 5.2.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from radii.smoothing.radius import MAX_N, check_count


def bernstein_interval(mean: float, variance: float, n: int, *, delta: float) -> tuple[float, float]:
    """Bounds on the expectation of scores in [0, 1], each false with probability at most ``delta``.

    Empirical Bernstein: ``mean -+ (sqrt(2 variance ln(2/delta)/n) + 7 ln(2/delta)/(3(n-1)))``, clamped to [0, 1] and
    rounded outward. Maurer & Pontil 2009, theorem 4.

    Args:
        mean, variance: of n independent scores; the variance is the unbiased one.

    Raises ValueError, naming the argument that is out of range.
    """
    check_count("n", n, MAX_N)
    if n < 2:
        raise ValueError(f"n: a variance needs at least 2 samples, not {n}")
    if not 0 <= mean <= 1:
        raise ValueError(f"mean: must lie in [0, 1], not {mean}")
    # n/(n-1) mean (1 - mean) is the most that scores in [0, 1] can have; 1e-8: callers may add what rounding lost
    if not 0 <= variance <= n / (n - 1) * mean * (1 - mean) * (1 + 1e-9) + 1e-8:
        raise ValueError(f"variance: scores in [0, 1] of mean {mean} cannot have {variance}")
    if not 0 < delta < 1:
        raise ValueError(f"delta: must lie strictly between 0 and 1, not {delta}")
    log = math.log(2) - math.log(delta)
    shift = (math.sqrt(2 * variance * log / n) + 7 * log / (3 * (n - 1))) * (1 + 1e-12)
    return max(0.0, mean - shift - 1e-15), min(1.0, mean + shift + 1e-15)


@dataclass(slots=True)
class Moments:
    """Mean and variance of every class's score, in float64, merged from chunks in any order.

    Chan, Golub & LeVeque 1983: no cancellation, however many samples.
    """

    n: int
    mean: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64] = field(repr=False)
    """Sums of squared differences from the mean."""

    @classmethod
    def of(cls, scores: npt.NDArray[np.floating]) -> "Moments":
        """The moments of scores (samples, classes), at least one sample."""
        values = scores.astype(np.float64)
        mean = values.mean(axis=0)
        return cls(len(values), mean, np.square(values - mean).sum(axis=0))

    def merge(self, other: "Moments") -> "Moments":
        n = self.n + other.n
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.n / n)
        return Moments(n, mean, self.squares + other.squares + np.square(apart) * (self.n * (other.n / n)))

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Unbiased; needs two samples."""
        return self.squares / (self.n - 1)
