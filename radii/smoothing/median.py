"""Certified intervals of smoothed regression: order statistics (Chiang et al. 2020, arXiv 2007.03730). No torch."""

import math
from typing import NamedTuple

from scipy.special import betainc, ndtr

from radii.smoothing.radius import check_count, check_settings


class OrderStatistics(NamedTuple):
    """Which of n sorted outputs (1 the smallest) bound the median at every point within the radius.

    ``lower`` 0 and ``upper`` n + 1 stand for -inf and +inf: n is too small for the radius.
    """

    lower: int
    upper: int


def median_statistics(n: int, *, radius: float, sigma: float, alpha: float) -> OrderStatistics:
    """Order statistics of n noisy outputs that bound the smoothed median anywhere within an l2 ``radius``.

    The median of ``f(x + N(0, sigma^2 I))`` at a point within the radius lies between the quantiles
    ``Phi(-radius/sigma)`` and ``Phi(radius/sigma)`` of the output at x; the binomial law bounds those, each side at
    ``alpha/2``. Non-finite outputs must be sorted to the outside on both sides. Raises ValueError, naming the argument.
    """
    check_settings(n, alpha, sigma, 0.0)
    if not (radius >= 0 and math.isfinite(radius)):
        raise ValueError(f"radius: must not be negative, and finite, not {radius}")
    p = float(ndtr(-(radius / sigma) * (1 + 1e-9))) * (1 - 1e-9)
    # The k-th smallest output is above the p-quantile when fewer than k outputs lie at or below it.
    low, high = 0, n
    while low < high:
        k = (low + high + 1) // 2
        low, high = (k, high) if _fewer(k, n, p) * (1 + 1e-9) <= alpha / 2 else (low, k - 1)
    check_count("lower", low, n)
    return OrderStatistics(low, n + 1 - low)


def _fewer(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) < k), 1 <= k <= n."""
    return float(betainc(n - k + 1, k, 1 - p))
