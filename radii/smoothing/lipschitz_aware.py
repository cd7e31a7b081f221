"""The radius of smoothed scores that are Lipschitz themselves: larger than noise alone allows. SciPy alone, no torch.

With Lipschitz constant L of the scores and noise sigma, among all functions into [0, 1] that are L-Lipschitz and have
the smoothed value p, a ramp along one direction falls fastest. Its smoothed value, s behind the ramp's middle, is
``G(s) = 1 - L int_s^{s+1/L} Phi(u/sigma) du``, and the radius is the way between the two s. Sharper than the bound of
arXiv 2504.02412 at rho = 0; ``L -> inf`` gives Cohen et al. 2019, ``sigma -> 0`` gives ``(pA - pB)/(2L)``.
Formulas: docs/numerics.md 5.4.
"""

import math

import numpy as np
from scipy.special import erfcx, ndtr

from radii.smoothing.radius import floor_radius

_SLACK = 1e-9  # of a mean of Phi, relatively; its error against 50 digits stayed below 1e-11
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def radius_lipschitz(p_lower: float, p_upper: float, *, sigma: float, lipschitz: float) -> float | None:
    """Certified l2 radius of smoothed class scores in [0, 1], each ``lipschitz``-Lipschitz; None to abstain.

    Args:
        p_lower: lower bound of the smoothed score of the predicted class.
        p_upper: upper bound of every other class's; ``1 - p_lower`` where the scores sum to one.
        lipschitz: an *upper* bound, l2, in the input space that ``sigma`` is in.

    In sigma's units, rounded down to 6 decimals; what rounds to 0 abstains. Raises ValueError, naming the argument.
    """
    for name, p in (("p_lower", p_lower), ("p_upper", p_upper)):
        if not 0 <= p <= 1:
            raise ValueError(f"{name}: must lie in [0, 1], not {p}")
    for name, value in (("sigma", sigma), ("lipschitz", lipschitz)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}: must be positive and finite, not {value}")
    miss = max(math.nextafter(1 - p_lower, 1.0), 1e-300)
    rival = max(p_upper, 1e-300)
    if p_lower <= p_upper or miss >= 1 or rival >= 1:
        return None
    # In units of sigma. The mean of Phi over [t, t + h] is ``miss`` at s0(pA)/sigma, and ``rival`` at the mirror image
    # of s0(pB)/sigma about -h/2.
    h = 1 / max(lipschitz * sigma, 1e-150) * (1 - 1e-15)  # a larger constant is on the safe side
    t_miss, t_rival = _reaches(miss, h), _reaches(rival, h)
    rounding = 1e-14 * (h + abs(t_miss) + abs(t_rival))
    return floor_radius(sigma / 2 * (-h - t_miss - t_rival - rounding) * (1 - 1e-12))


def _reaches(q: float, h: float) -> float:
    """A t, as small as can be proved, from which on the mean of Phi over [t, t + h] exceeds q, 0 < q < 1."""
    low, high = -40 - h * (1 + 1e-12), 40.0
    goal = q * (1 + _SLACK) ** 2
    if goal >= 1:
        return high
    from scipy.optimize import brentq  # a third of a second, for which nothing else should wait

    estimate = brentq(lambda t: math.log(_mean(t, h)) - math.log(goal), low, high, xtol=1e-13 * max(1.0, h), rtol=1e-14)
    for step in (0.0, 1e-13, 1e-11, 1e-9, 1e-6, 1e-3):
        t = float(estimate) + step * max(1.0, h)
        if _mean(t, h) >= q * (1 + _SLACK):
            return t
    return high


def _mean(t: float, h: float) -> float:
    """The mean of Phi over [t, t + h]."""
    if h < 1:  # a difference of integrals would cancel
        return max(float(_WEIGHTS @ ndtr(t + h / 2 * (_NODES + 1))) / 2, 1e-310)
    return max((_integral(t + h) - _integral(t)) / h, 1e-310)


def _integral(t: float) -> float:
    """The integral of Phi from -inf to t, ``t Phi(t) + phi(t)``; negative t by Mills' ratio."""
    if t > 0:
        return t + _integral(-t)
    density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return density * (1 + t * math.sqrt(math.pi / 2) * float(erfcx(-t / math.sqrt(2))))
