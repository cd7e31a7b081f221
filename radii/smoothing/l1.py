"""Certified l1 radii: of uniform and Laplace noise by vote counts, of splitting noise exactly. No torch.
Formulas: docs/numerics.md 4.3 and 4.7.
"""

import math

from radii.laws import LAWS
from radii.smoothing.radius import check_count, check_settings, floor_radius, miss_upper


def radius_uniform(count: int, n: int, *, alpha: float, width: float, tail_mass: float = 0.0) -> float | None:
    """Certified l1 radius ``2 width (pA - 1/2)`` under noise uniform on [-width, width] an axis; None to abstain.

    ``pA`` is the Clopper-Pearson lower bound less ``tail_mass``. In width's units, rounded down to 6 decimals. Yang et
    al. 2020 (arXiv 2002.08118), theorem for the uniform distribution; Lee et al. 2019. Raises ValueError, naming the
    argument.
    """
    q = _miss(count, n, alpha, width, "width", tail_mass)
    return floor_radius(LAWS["uniform"].radius(q, width)) if q < 0.5 else None


def radius_laplace(count: int, n: int, *, alpha: float, scale: float, tail_mass: float = 0.0) -> float | None:
    """Certified l1 radius ``-scale ln(2 (1 - pA))`` under Laplace noise of this scale an axis; None to abstain.

    Teng et al. 2020; Yang et al. 2020. Otherwise as :func:`radius_uniform`.
    """
    q = _miss(count, n, alpha, scale, "scale", tail_mass)
    return floor_radius(LAWS["laplace"].radius(q, scale)) if q < 0.5 else None


def radius_splitting(count: int, runner_up: int, *, runner_up_before: bool, span: float = 1.0) -> float | None:
    """Exact l1 radius, input units, of splitting noise with every offset of the 1/255 grid counted; None to abstain.

    Levine & Feizi 2021 (arXiv 2103.10834), theorem 2 with derandomised noise: a change of 1/255 in l1 alters at most
    one offset's vote, so ``floor((count - runner_up - [runner_up comes first])/2)`` grid steps change nothing.

    Args:
        count, runner_up: offsets that voted for the class and for its strongest rival.
        runner_up_before: whether the rival's index is the lower one, and so wins a tie.
        span: of the input's range, 255 steps.
    """
    check_count("count", count, 2**31)
    check_count("runner_up", runner_up, 2**31)
    steps = (count - runner_up - bool(runner_up_before)) // 2
    return floor_radius(steps * span / 255) if steps > 0 else None


def _miss(count: int, n: int, alpha: float, size: float, name: str, tail_mass: float) -> float:
    if not (size > 0 and math.isfinite(size)):
        raise ValueError(f"{name}: must be positive and finite, not {size}")
    check_settings(n, alpha, 1.0, tail_mass)
    check_count("count", count, n)
    return miss_upper(count, n, alpha) + tail_mass
