"""Bets on the votes for one class and for another, for and against a radius. NumPy and SciPy alone, no torch.

Let a and b be the probabilities of the two. Cohen's radius ``sigma/2 (Phi^-1(a) - Phi^-1(b))`` is at least r where
``b <= h(a) = Phi(Phi^-1(a) - c)``, ``c = 2 r/sigma``. A *price* ``s >= 0`` makes a cost of each vote: 0 for the class,
``1 + s`` for the other, s for a third one. Its mean is ``s (1 - a) + b``, a line over a and b; and as h is convex,
lines tell the two sides apart:

- Where the radius is **less** than r, the mean at every price is at least ``d = min_z s Phi(-z) + Phi(z - c)``: the
  tangent of slope s, which touches h at ``z = c/2 + ln(s)/c``.
- Where it is **at least** r, ``(a, b)`` lies below the chord of the piece of h over a, so that the mean at that chord's
  slope is at most the larger one of its two ends, d. (Where a is beyond the first piece, ``b <= 1 - a`` is below.)

Whoever stakes against such a line has his wealth multiplied, at each vote, by ``1 + l (d - cost)`` in the first case,
``1 + l (cost - d)`` in the second: while the line holds, a supermartingale, which ever reaches ``1/alpha`` with
probability alpha at most (Ville 1939; Waudby-Smith and Ramdas 2024). So is a mixture over stakes l, and over lines that
all hold. Where one line of several holds, the least wealth of any is below that line's. All depend on the counts alone.

At price 1 the tangent touches h where ``a + b = 1``: no stake on the class's votes alone has more wealth than the same
stake there, at any votes. So the one-sided test costs no alpha of its own. Formulas: docs/numerics.md 4.4.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr

Floats = npt.NDArray[np.float64]

# What follows settles how soon a bet is won, never whether it is fair.
TANGENTS = 0.25  # between the points where they touch, as z
PIECE = 0.1  # the length of a piece, as z: its chord is c phi(z - c) PIECE^2/8 above h at most
LEAST_Z = -3.5  # no tangent touches h below it, and one piece lies there: the class has hardly a vote
STAKES = 0.6  # between stakes, as logits of the part of the wealth that the worst vote takes
MOST = 3.5  # the logit of the largest such part
LEAST_DEVIATIONS = 3.0  # the least stake is made for a mean that lies so far from d after all n votes

# Taken off what wins and added to what loses, relatively. It covers the roundings of c, of ndtr and of sums of positive
# terms: below 1e-13 while c is below 40, and the radii that n votes can reach have c < 13.
_SLACK = 1e-9

# Log wealth adds n terms of at most MOST. Against 40 digits its error stayed below 3e-15 n (n to 1e9): ten times that.
_SLACK_OF_SUM, _SLACK_PER_SAMPLE = 1e-9, 3e-14


@dataclass(frozen=True, eq=False)
class Bets:
    """The factors of the stakes on each line at a vote for the class, for the other, for a third, as logarithms
    (lines, stakes). ``weights``: the lines' parts of the wealth, (lines, 1), or None where each has its own.
    """

    top: Floats
    rival: Floats
    rest: Floats
    weights: Floats | None

    def log_wealth(self, top: int, rival: int, n: int) -> float:
        """Its logarithm after n votes, ``top`` for the class and ``rival`` for the other; without weights the least of
        the lines'. Rounded down."""
        logs = top * self.top + rival * self.rival + (n - top - rival) * self.rest
        most = logs.max()
        if self.weights is not None:
            log = float(most) + math.log(float((self.weights * np.exp(logs - most)).mean(axis=1).sum()))
        else:
            of_line = logs.max(axis=1, keepdims=True)
            log = float((of_line[:, 0] + np.log(np.exp(logs - of_line).mean(axis=1))).min())
        return log - _SLACK_OF_SUM - _SLACK_PER_SAMPLE * n


@lru_cache(maxsize=16)  # the inputs of a certification have them in common
def bets_for(c: float, n: int, tail_mass: float) -> Bets:
    """Bets whose wealth grows where the radius is at least r, and hardly ever where it is less. n: votes at most."""
    z = np.arange(c / 2, LEAST_Z, -TANGENTS)
    s = np.exp(c * (z - c / 2))
    weights = np.full(len(z), 0.5 / max(1, len(z) - 1))
    weights[0] = 0.5  # most inputs' votes are for two classes
    return _against_more(s, _mean(s, z, c), weights, n, tail_mass)


@lru_cache(maxsize=16)
def bets_against(c: float, n: int, tail_mass: float) -> Bets:
    """Bets whose wealth grows where the radius is less than r, and hardly ever where it is at least r."""
    ends = np.append(np.arange(c / 2, LEAST_Z, -PIECE), -np.inf)
    upper, lower = ends[:-1], ends[1:]
    run = np.where(lower > 0, ndtr(-lower) - ndtr(-upper), ndtr(upper) - ndtr(lower))
    s = (ndtr(upper - c) - ndtr(lower - c)) / run
    return _against_less(s, np.maximum(_mean(s, upper, c), _mean(s, lower, c)), n, tail_mass)


@lru_cache(maxsize=16)
def bets_on_misses(q: float, n: int, tail_mass: float) -> tuple[Bets, Bets]:
    """Both kinds of bets on one side alone: is the class missed with probability q at most? Misses are the other's."""
    s, d = np.zeros(1), np.full(1, q)
    return _against_more(s, d, np.ones(1), n, tail_mass), _against_less(s, d, n, tail_mass)


def _against_more(s: Floats, d: Floats, weights: Floats, n: int, tail_mass: float) -> Bets:
    """Against mean costs of at least d under the law of the noise: what is drawn may cost ``(1 + s) tail_mass`` less.

    A mean of 0 or less can't be undercut: there nothing is staked.
    """
    d = np.maximum(d * (1 - _SLACK) - (1 + s) * tail_mass, 0)
    with np.errstate(divide="ignore"):
        parts = _parts(LEAST_DEVIATIONS / np.sqrt(n * d))
    s, d = s[:, None], d[:, None]
    stakes = np.where(d > 0, parts / (1 + s - d), 0.0)
    log = np.log1p(stakes * d), np.log1p(stakes * (d - s - 1)), np.log1p(stakes * (d - s))
    return Bets(*log, weights[:, None])


def _against_less(s: Floats, d: Floats, n: int, tail_mass: float) -> Bets:
    """Against mean costs of at most d: what is drawn may cost ``(1 + s) tail_mass`` more."""
    d = d * (1 + _SLACK) + (1 + s) * tail_mass
    parts = _parts(LEAST_DEVIATIONS * np.sqrt(np.maximum(d, 1 / n) / n))
    s, d = s[:, None], d[:, None]
    stakes = parts / d
    return Bets(np.log1p(-parts), np.log1p(stakes * (1 + s - d)), np.log1p(stakes * (s - d)), None)


def _mean(s: Floats, z: Floats, c: float) -> Floats:
    """The mean cost on h, where ``a = Phi(z)``."""
    mean: Floats = s * ndtr(-z) + ndtr(z - c)
    return mean


def _parts(least: Floats) -> Floats:
    """Parts of the wealth that the worst vote takes, from ``least`` up, (lines, stakes)."""
    least = np.minimum(least, 0.5)
    start = np.log(least) - np.log1p(-least)
    number = math.ceil((MOST - float(start.min())) / STAKES) + 1
    parts: Floats = expit(np.linspace(start, MOST, number, axis=1))
    return parts
