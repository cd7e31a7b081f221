"""The norms that a radius may be asked in, and what an l2 radius is worth in each. Formulas: docs/numerics.md 1.2."""

import math
from typing import Literal

Norm = Literal["l2", "linf", "l1"]


def converted(radius: float, norm: Norm, dimensions: int) -> float:
    """The radius of the largest ball of ``norm`` inside the l2 ball of ``radius``, rounded down.

    In d dimensions ``||x||_2`` is at most ``||x||_1`` and ``sqrt(d) ||x||_inf``, both attained: r and r / sqrt(d).
    """
    if norm != "linf" or dimensions == 1:
        return radius
    above = math.nextafter(math.sqrt(dimensions), math.inf)
    return max(0.0, math.nextafter(radius / above, 0.0))


def in_l2(radius: float, norm: Norm, dimensions: int) -> float:
    """The l2 radius whose ball holds the ball of ``norm``, rounded up: :func:`converted`, the other way."""
    if norm != "linf" or dimensions == 1:
        return radius
    return math.nextafter(radius * math.nextafter(math.sqrt(dimensions), math.inf), math.inf)
