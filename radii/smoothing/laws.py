"""The laws of noise an axis, by their standard deviation: what a bound on the votes is worth under each. No torch.

Gaussian noise certifies in l2, uniform and Laplace noise in l1. One side only: how likely the class is missed, at most,
gives the radius, and a radius how often it may be missed.
"""

import math

from scipy.special import ndtr

from radii.norms import Law
from radii.smoothing.l1 import radius_laplace, radius_uniform
from radii.smoothing.radius import radius_one_sided


def width(sigma: float) -> float:
    """Half the support of uniform noise of this deviation."""
    return math.sqrt(3) * sigma


def scale(sigma: float) -> float:
    """Of Laplace noise of this deviation: the mean distance from 0."""
    return sigma / math.sqrt(2)


def radius(law: Law, count: int, n: int, *, alpha: float, sigma: float, tail_mass: float = 0.0) -> float | None:
    """Certified radius of a class with ``count`` of ``n`` votes, in the norm of the law; None to abstain.

    As :func:`radius_one_sided`, :func:`radius_uniform`, :func:`radius_laplace`: rounded down, errors the same.
    """
    if law == "uniform":
        return radius_uniform(count, n, alpha=alpha, width=width(sigma), tail_mass=tail_mass)
    if law == "laplace":
        return radius_laplace(count, n, alpha=alpha, scale=scale(sigma), tail_mass=tail_mass)
    return radius_one_sided(count, n, alpha=alpha, sigma=sigma, tail_mass=tail_mass)


def most_misses(law: Law, target_radius: float, sigma: float) -> float:
    """A probability to miss the class that certifies ``target_radius``, rounded down; 0 or less where none does."""
    if law == "uniform":
        return 0.5 - target_radius / (2 * width(sigma)) - 1e-12  # 1e-12: the roundings, all of them below 1e-15
    if law == "laplace":
        return math.exp(-target_radius / scale(sigma) * (1 + 1e-12)) / 2 * (1 - 1e-12)
    # 1e-9 covers the division and ndtr
    return float(ndtr(-(target_radius / sigma) * (1 + 1e-9))) * (1 - 1e-9)
