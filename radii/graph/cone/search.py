"""sup |f'| over the whole real line, proved: branch and bound over cells, and two that reach to infinity.
Formulas: docs/numerics.md 2.9.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radii.graph.cone.expression import Step, evaluate
from radii.graph.cone.interval import Floats, Interval
from radii.graph.cone.jet import Jet, variable

TOLERANCE = 2e-12
FARTHEST = (2.0**12, 2.0**24, 2.0**48, 2.0**96)  # where the line is cut, in turn
NEAREST = -10  # the cells around 0 are 2^-10 long at first
LEVELS = 80
NOTHING = 1e-200  # a slope like this is none
MOST_CELLS = 2048
MOST_WORK = 2**22  # cells times steps, a second or so
NARROW = 2.0**-40  # of a cell that changes over: not split any further, lest rounding make several of it
RELATIVE_LOSS = 2.0**-37  # of L |x|: rounding that `radii.lipschitz.network.forward` allows for anyway, and half of it
WORST_LOSS = 1e-4


@dataclass(frozen=True, slots=True)
class Steepness:
    """``|f(x) - f(y)| <= upper |x - y| + jumps``, and what else evaluating f may lose.

    ``loss``: computed in float64, f errs by at most ``2^-36 upper |x|`` more than this, its jumps counted twice.
    ``continuous``: there are no jumps.
    """

    upper: float
    loss: float
    continuous: bool


def steepness(steps: Sequence[Step]) -> Steepness | None:
    """An upper bound of the Lipschitz constant of an expression on the real line; None: none was found."""
    best = None
    with np.errstate(all="ignore"):
        for end in FARTHEST:
            far = [evaluate(steps, variable(*cell, start=end)) for cell in _ends(end)]
            if not all(math.isfinite(_most(part)[0]) and part.jump[0] == 0 for part in far):
                continue
            found, tight = _search(steps, far, end)
            if found is None:
                return best
            if best is None or found.upper < best.upper:
                best = found
            if tight:
                break
    return best


def _ends(end: float) -> list[tuple[Floats, Floats]]:
    return [(np.array([-np.inf]), np.array([-end])), (np.array([end]), np.array([np.inf]))]


def _most(part: Jet) -> Floats:
    return part.slope.magnitude().hi


def _search(steps: Sequence[Step], far: list[Jet], end: float) -> tuple[Steepness | None, bool]:
    """The bound, and whether cutting the line farther out could not lower it."""
    exponents = np.arange(NEAREST, int(math.log2(end)) + 1)
    halves = np.ldexp(1.0, exponents)
    edges = np.concatenate([-halves[::-1], [0.0], halves])
    lo, hi = edges[:-1], edges[1:]
    farther = max(float(_most(part)[0]) for part in far)
    least, beaten, loss, jumps, tolerance = 0.0, farther, 0.0, 0.0, TOLERANCE
    work = 0
    for level in range(LEVELS):
        work += len(lo) * len(steps)
        middle = lo / 2 + hi / 2
        cells, points = evaluate(steps, variable(lo, hi)), evaluate(steps, variable(middle, middle))
        least = max(least, float(np.max(points.slope.magnitude().lo)))
        most = np.minimum(_most(cells), _mean_value(cells, points, np.maximum(hi - middle, middle - lo)))
        near_zero = np.minimum(np.abs(lo), np.abs(hi))
        lost = np.maximum(0.0, cells.error.hi - RELATIVE_LOSS * least * near_zero)
        narrow = hi - lo <= NARROW * np.maximum(1.0, np.abs(middle))
        other = ~(lost <= WORST_LOSS) | ((cells.jump > 0) & ~narrow)
        can = (middle > lo) & (middle < hi) & (level < LEVELS - 1) & (work < MOST_WORK)
        split = can & (other | ~(most <= least * (1 + tolerance) + NOTHING))
        while np.count_nonzero(split) > MOST_CELLS and tolerance < 1:
            tolerance *= 8  # a plateau: as tight as the budget gives
            split = can & (other | ~(most <= least * (1 + tolerance) + NOTHING))
        if np.count_nonzero(split) > MOST_CELLS:
            return None, True
        done = ~split
        beaten = max(beaten, float(np.max(most[done], initial=0.0)))
        loss = max(loss, float(np.max(lost[done], initial=0.0)))
        jumps += float(np.sum(cells.jump[done])) * (1 + 1e-12)
        if not (math.isfinite(beaten) and loss <= WORST_LOSS and jumps <= WORST_LOSS):
            return None, True
        if not split.any():
            break
        lo, hi = np.stack([lo[split], middle[split]], 1).ravel(), np.stack([middle[split], hi[split]], 1).ravel()
    upper, tight = math.nextafter(beaten, math.inf), farther <= least * (1 + TOLERANCE)
    for part in far:
        growth = part.error.growth
        if growth is None or not growth.log_supremum(1.0) <= math.log(RELATIVE_LOSS * max(least, 1e-300)):
            return None, True
    lost = math.nextafter((loss + 2 * jumps) * (1 + 1e-12), math.inf) if loss + jumps else 0.0
    return Steepness(upper, lost, not jumps), tight


def _mean_value(cells: Jet, points: Jet, reach: Floats) -> Floats:
    """|f'| by its value in the middle and f'' on the cell: the nearer the smaller the cell, quadratically."""
    radius = np.nextafter(reach, np.inf)
    around = points.slope + cells.curvature * Interval(-radius, radius)
    return around.magnitude().hi
