"""Certified radii from vote counts. Pure arithmetic: SciPy alone, no state, no torch.

Everything works with ``q = 1 - p``, the *upper* bound of the probability to miss the class: near one, p itself
has no digits left. Every rounding goes towards the smaller radius. Formulas: docs/numerics.md 4.1 and 4.2.
"""

import math
import operator

from scipy.special import betaincc, betainccinv

from radii.laws import LAWS, Law
from radii.laws.gaussian import z_lower

MAX_N = 10**9
"""Largest n accepted: as far as the arithmetic was compared with arbitrary precision."""

# SciPy's inverse is only a proposal: with n near 1e9 and few misses it was seen too low by 5e-9, relatively, and at
# some extremes it is nan. SciPy's tail itself, which decides, was never seen wrong by more than 3e-11 (n to 1e9,
# alpha to 1e-200, against 40 digits).
_WIDENINGS = (2e-9, 2e-8, 1e-6, 1e-3)
_TAIL_SLACK = 1e-9


def radius_one_sided(count: int, n: int, *, alpha: float, sigma: float, tail_mass: float = 0.0) -> float | None:
    """Certified l2 radius ``sigma Phi^-1(pA)`` of a class with ``count`` of ``n`` votes; None to abstain.

    ``pA`` is the Clopper-Pearson lower bound at ``alpha`` less ``tail_mass`` (the part of the Gaussian that the
    noise source cannot draw). The class must have been chosen without these n samples. In sigma's units, rounded
    down to 6 decimals; what rounds to 0 abstains. Cohen et al. 2019, theorem 1 and CERTIFY.

    Raises ValueError, naming the argument, for anything out of range.
    """
    return radius_under(LAWS["gaussian"], count, n, alpha=alpha, sigma=sigma, tail_mass=tail_mass)


def radius_under(law: Law, count: int, n: int, *, alpha: float, sigma: float, tail_mass: float = 0.0) -> float | None:
    """Certified radius under noise of a law, in its norm. Otherwise as :func:`radius_one_sided`."""
    check_settings(n, alpha, sigma, tail_mass)
    check_count("count", count, n)
    q = miss_upper(count, n, alpha) + tail_mass
    return floor_radius(law.radius(q, law.stretch(sigma))) if q < 0.5 else None


def radius_two_sided(
    count: int, runner_up: int, n: int, *, alpha: float, sigma: float, tail_mass: float = 0.0
) -> float | None:
    """Certified l2 radius ``sigma/2 (Phi^-1(pA) - Phi^-1(pB))``; None to abstain. Never needs ``pA > 1/2``.

    ``runner_up`` is the largest count among *all* other classes on the same n samples. ``pA`` is the lower bound
    of ``count`` and ``pB`` the smaller of ``1 - pA`` and the upper bound of ``runner_up``, each at ``alpha/2``:
    valid for any number of classes. Rounding, units and errors as :func:`radius_one_sided`.
    """
    check_settings(n, alpha, sigma, tail_mass)
    check_count("count", count, n)
    check_count("runner_up", runner_up, n - operator.index(count))
    q_a = miss_upper(count, n, alpha / 2) + tail_mass
    p_b = min(q_a, miss_upper(n - runner_up, n, alpha / 2) + tail_mass)  # CPup(m) = 1 - CPlow(n - m)
    if q_a >= 1 or p_b >= 1:
        return None
    return floor_radius(sigma / 2 * (z_lower(q_a) + z_lower(p_b)))


def probability_lower(count: int, n: int, *, alpha: float, tail_mass: float = 0.0) -> float:
    """The ``pA`` of :func:`radius_one_sided`, in [0, 1), rounded down."""
    check_settings(n, alpha, 1.0, tail_mass)
    check_count("count", count, n)
    return max(0.0, math.nextafter(1 - (miss_upper(count, n, alpha) + tail_mass), -1.0))


def minimum_n(alpha: float) -> int:
    """Fewest samples with which a unanimous vote can certify anything: ``alpha^(1/n) > 1/2``, n > log2(1/alpha)."""
    check_settings(1, alpha, 1.0, 0.0)
    return math.floor(-math.log2(alpha)) + 1


def miss_upper(count: int, n: int, alpha: float) -> float:
    """``1 - CPlow(count, n, alpha)`` rounded up, in (0, 1]: Clopper & Pearson 1934. Arguments are not checked."""
    if count == 0:
        return 1.0
    if count == n:
        return min(1.0, -math.expm1(math.log(alpha) / n) * (1 + _WIDENINGS[0]))
    misses = n - count
    estimate = float(betainccinv(misses + 1, count, alpha))
    for widening in _WIDENINGS:
        q = estimate * (1 + widening)
        # P(Binomial(n, 1 - q) >= count) <= alpha is what makes q a bound; nan compares false.
        if 0 < q < 1 and float(betaincc(misses + 1, count, q)) * (1 + _TAIL_SLACK) <= alpha:
            return q
    return 1.0


def floor_radius(radius: float) -> float | None:
    """Rounded down to 6 decimals; None when nothing is left. Past 1e9 the slack in z exceeds any such rounding."""
    floored = math.floor(radius * 1e6) / 1e6 if radius < 1e9 else radius
    return floored if floored > 0 else None


def check_settings(n: int, alpha: float, sigma: float, tail_mass: float) -> None:
    """Raises ValueError, naming the argument that is out of range."""
    if not 1 <= _index("n", n) <= MAX_N:
        raise ValueError(f"n: must be from 1 to {MAX_N}, not {n}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must lie strictly between 0 and 1, not {alpha}")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma: must be positive and finite, not {sigma}")
    if not 0 <= tail_mass <= 1:
        raise ValueError(f"tail_mass: must lie in [0, 1], not {tail_mass}")


def check_count(name: str, count: int, most: int) -> None:
    """Raises ValueError unless ``count`` is an integer from 0 to ``most``."""
    if not 0 <= _index(name, count) <= most:
        raise ValueError(f"{name}: must be from 0 to {most}, the samples there are, not {count}")


def _index(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: must be an integer, not {value!r}") from None
