"""Certified intervals of smoothed regression: order statistics (Chiang et al. 2020, arXiv 2007.03730). No torch.
Formulas: docs/numerics.md 4.6.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincc, ndtr

from radii.smoothing.radius import check_count, check_settings


class OrderStatistics(NamedTuple):
    """Which of n sorted outputs (1 the smallest) bound the median at every point within the radius.

    ``lower`` 0 and ``upper`` n + 1 stand for -inf and +inf: n is too small for the radius.
    """

    lower: int
    upper: int


@dataclass(frozen=True, slots=True)
class MedianBounds:
    """What is said of the smoothed regressor g at one input, an entry an output.

    g is the median, output by output, of ``f(x + N(0, sigma^2 I))``, with f as it was run: in floating point, by one
    executor. With probability at least ``1 - alpha`` over the noise, ``lower <= g <= upper`` in all outputs, at every
    point within the l2 radius, whichever median is taken where there are several.
    """

    median: tuple[float, ...]
    """The median of the samples: an estimate of g at x, no bound. NaN where non-finite outputs leave it open."""
    lower: tuple[float, ...]
    """-inf where nothing is known, and ``upper`` +inf."""
    upper: tuple[float, ...]


def median_statistics(n: int, *, radius: float, sigma: float, alpha: float, tail_mass: float = 0.0) -> OrderStatistics:
    """Order statistics of n noisy outputs that bound the smoothed median anywhere within an l2 ``radius``.

    A median m of ``f(x + N(0, sigma^2 I))`` at a point within the radius has an output of at most m there with
    probability 1/2 or more; so at x with ``p = Phi(-radius/sigma)`` or more (Neyman and Pearson; Cohen et al. 2019),
    and among samples of the noise source with ``p - tail_mass`` or more (:class:`Noise`: its distance from the law in
    total variation). That the k-th smallest of n lies above the least such m, and so above any median, has probability
    ``P(Binomial(n, p - tail_mass) < k)`` at most; the other side is the mirror image. Each side gets ``alpha/2``.
    Non-finite outputs must be sorted to the outside on both sides. Raises ValueError, naming the argument.
    """
    check_settings(n, alpha, sigma, tail_mass)
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"radius: must not be negative, and finite, not {radius}")
    p = float(ndtr(-(radius / sigma) * (1 + 1e-9))) * (1 - 1e-9)
    p = math.nextafter(p - tail_mass, -1.0) if tail_mass else p
    # The k-th smallest output is above the p-quantile when fewer than k outputs lie at or below it.
    low, high = 0, n if p > 0 else 0
    while low < high:
        k = (low + high + 1) // 2
        low, high = (k, high) if _fewer(k, n, p) * (1 + 1e-9) <= alpha / 2 else (low, k - 1)
    check_count("lower", low, n)
    return OrderStatistics(low, n + 1 - low)


def median_bounds(
    outputs: npt.NDArray[np.floating], *, radius: float, sigma: float, alpha: float, tail_mass: float = 0.0
) -> MedianBounds:
    """Bounds on the smoothed regressor within an l2 ``radius`` of one input, from its noisy outputs (n, k).

    ``alpha`` is for all k outputs together: each gets ``alpha/k``, by :func:`median_statistics`. An output that is not
    finite counts as lying outside on both sides, so the bounds hold whatever value stands for it. Raises ValueError,
    naming the argument that is out of range.
    """
    if outputs.ndim != 2 or not outputs.size:
        raise ValueError(f"outputs: must be of shape (n, k), neither of them 0, not {outputs.shape}")
    n, k = outputs.shape
    each = alpha if k == 1 else math.nextafter(alpha / k, 0.0)
    statistics = median_statistics(n, radius=radius, sigma=sigma, alpha=each, tail_mass=tail_mass)
    found = [_bounds(outputs[:, j], statistics) for j in range(k)]
    median, lower, upper = zip(*found, strict=True)
    return MedianBounds(median, lower, upper)


def _bounds(values: npt.NDArray[np.floating], at: OrderStatistics) -> tuple[float, float, float]:
    """Median, lower and upper bound of one output."""
    n = len(values)
    inside = np.sort(values[np.isfinite(values)])
    outside = n - len(inside)  # so many on either side

    def from_below(i: int) -> float:
        return float(inside[i - outside - 1]) if i > outside else -math.inf

    def from_above(i: int) -> float:
        return float(inside[i - 1]) if i <= len(inside) else math.inf

    middle = from_below((n + 1) // 2) / 2 + from_above(n // 2 + 1) / 2
    return middle if math.isfinite(middle) else math.nan, from_below(at.lower), from_above(at.upper)


def _fewer(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) < k), 1 <= k <= n."""
    return float(betaincc(k, n - k + 1, p))
