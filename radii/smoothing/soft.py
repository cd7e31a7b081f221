"""LVM-RS (Delattre et al., ICLR 2024, arXiv 2309.16883): radii of mean scores instead of votes. No torch.

g answers the class whose score is largest on average over the noise. For scores in [0, 1], ``Phi^-1`` of a mean score
is ``1/sigma``-Lipschitz in l2 (Salman et al. 2019), as a share of votes is. Scores vary less than votes, so their mean
is known better; votes win where nearly all agree. The pilot chooses the map and its factor; n fresh samples certify.
Formulas: docs/numerics.md 5.3.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from radii.laws.gaussian import z_lower
from radii.smoothing.keys import chunk_size, chunks
from radii.smoothing.lipschitz_aware import radius_lipschitz
from radii.smoothing.prediction import Counts, Sides, vote_bounds
from radii.smoothing.radius import check_settings, floor_radius
from radii.smoothing.scores import Moments, bernstein_interval
from radii.smoothing.simplex import CHOICES, Scoring

ScoreChunk = Callable[[int, int, Scoring], tuple[Counts, Moments]]
"""(chunk number, size, scoring) to the votes and the moments of the scores of so many fresh samples of that chunk."""

SIDES: tuple[Sides, ...] = ("one-sided", "two-sided")

GENTLE = 4.0
"""Above this product of the scores' constant and sigma the radius gains nothing from it."""


@dataclass(frozen=True, slots=True)
class SoftPrediction:
    """What is said of one input: with probability at least ``1 - alpha`` over the noise, if not ``abstained``, the
    class of the largest mean score, under ``scoring``, is ``prediction`` everywhere within l2 distance ``radius``.
    """

    prediction: int | None
    """None when abstained."""
    pilot_class: int | None
    """The pilot's class, also when abstained; None when non-finite logits were the largest."""
    radius: float | None
    plain_radius: float | None
    """Without the Lipschitz constant; None to abstain."""
    scoring: Scoring
    lipschitz: float | None
    """The Lipschitz constant of the scores, where it enlarged the radius."""
    p_lower: float
    """Lower bound of the class's mean score."""
    p_upper: float
    """Upper bound of every other class's mean score."""
    sides: Sides
    mean: tuple[float, ...]
    """Mean score of each class; the last entry: non-finite logits."""
    variance: tuple[float, ...]
    squares: tuple[float, ...]
    """Sums of squared differences from the mean: ``variance (n - 1)``."""
    counts: tuple[int, ...]
    """Votes of the same samples."""
    pilot_counts: tuple[int, ...]
    n: int

    @property
    def abstained(self) -> bool:
        return self.radius is None


@dataclass(frozen=True, slots=True)
class Choice:
    """What the pilot settles, so that nothing is chosen by the samples that certify."""

    scoring: Scoring
    top: int
    """The class, as an index of the scores: the last one is that of non-finite logits."""
    sides: Sides
    pilot_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known before any sample.

    ``network_lipschitz``: upper bound of the l2 constant of the logits, in the space and units of ``sigma``; None where
    there is none, or where the noise is rounded: scores of "round, then f" jump. ``logits_error``: upper bound of the
    expected l2 distance between the logits drawn and those of the network that the constant is of.
    """

    n: int
    alpha: float
    sigma: float
    tail_mass: float
    network_lipschitz: float | None = None
    logits_error: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError, naming the argument that is out of range."""
        check_settings(self.n, self.alpha, self.sigma, self.tail_mass)
        if self.n < 2:
            raise ValueError(f"n: a variance needs at least 2 samples, not {self.n}")
        if not 0 <= self.logits_error < math.inf:
            raise ValueError(f"logits_error: must be finite and not negative, not {self.logits_error}")


def choose(pilot_logits: npt.NDArray[np.floating], setting: Setting, scorings: Sequence[Scoring] = CHOICES) -> Choice:
    """The scoring that would give the largest radius if n samples scored as the pilot did; the first of equals.

    ``pilot_logits`` (n0, classes), of samples that are not drawn again. Raises ValueError for fewer than two.
    """
    n0 = len(pilot_logits)
    if n0 < 2:
        raise ValueError(f"pilot_logits: a variance needs at least 2 samples, not {n0}")
    votes = Scoring("hardmax").scores(pilot_logits).sum(axis=0).astype(np.int64)
    counts = votes * setting.n // n0
    counts[votes.argmax()] += setting.n - counts.sum()
    best, chosen = -1.0, None
    for scoring in scorings:
        pilot = Moments.of(scoring.scores(pilot_logits))
        foreseen = Moments(setting.n, pilot.mean, pilot.squares / n0 * setting.n)
        top = int(pilot.mean.argmax())
        for sides in SIDES:
            choice = Choice(scoring, top, sides, tuple(votes.tolist()))
            radius = _bounds(choice, setting, foreseen, counts).radius or 0.0
            if radius > best:
                best, chosen = radius, choice
    assert chosen is not None
    return chosen


def certify_soft(choice: Choice, score: ScoreChunk, setting: Setting) -> SoftPrediction:
    """The radius of one input under Gaussian noise, from n samples that ``score`` draws afresh.

    Raises ValueError when they are not n.
    """
    n, missing = setting.n, "a chunk is missing or counted twice"
    parts = [score(number, chunk_size(n, number), choice.scoring) for number in range(chunks(n))]
    counts = np.sum([np.asarray(votes, np.int64) for votes, _ in parts], axis=0)
    if counts.sum() != n:
        raise ValueError(f"counts: add up to {counts.sum()}, not to n = {n}; {missing}")
    moments = reduce(Moments.merge, (part for _, part in parts))
    if moments.n != n:
        raise ValueError(f"moments: of {moments.n} samples, not of n = {n}; {missing}")
    known = choice.top < len(counts) - 1
    bounds = _bounds(choice, setting, moments, counts)
    return SoftPrediction(
        prediction=None if not known or bounds.radius is None else choice.top,
        pilot_class=choice.top if known else None,
        radius=bounds.radius if known else None,
        plain_radius=bounds.plain if known else None,
        scoring=choice.scoring,
        lipschitz=bounds.lipschitz,
        p_lower=bounds.p_lower,
        p_upper=bounds.p_upper,
        sides=choice.sides,
        mean=tuple(moments.mean.tolist()),
        variance=tuple(moments.variance.tolist()),
        squares=tuple(moments.squares.tolist()),
        counts=tuple(counts.tolist()),
        pilot_counts=choice.pilot_counts,
        n=n,
    )


@dataclass(frozen=True, slots=True)
class _Bounds:
    p_lower: float
    p_upper: float
    plain: float | None
    lipschitz: float | None
    radius: float | None


def _bounds(choice: Choice, setting: Setting, moments: Moments, counts: npt.NDArray[np.int64]) -> _Bounds:
    if choice.scoring.map == "hardmax":
        return _of_votes(choice, setting, counts)
    p_lower, p_upper = _ends(choice, setting, moments)
    plain = None
    if 0 < p_lower > p_upper < 1:
        q = float(np.nextafter(1 - p_lower, 2.0))
        plain = floor_radius(setting.sigma / 2 * (z_lower(q) + z_lower(max(p_upper, 1e-300))))
    steep = None if setting.network_lipschitz is None else choice.scoring.lipschitz(setting.network_lipschitz)
    if steep is not None and 0 < steep * setting.sigma <= GENTLE:
        aware = radius_lipschitz(p_lower, p_upper, sigma=setting.sigma, lipschitz=steep)
        if (aware or 0.0) > (plain or 0.0):  # else: two roundings of one number
            return _Bounds(p_lower, p_upper, plain, steep, aware)
    return _Bounds(p_lower, p_upper, plain, None, plain)


def _of_votes(choice: Choice, setting: Setting, counts: npt.NDArray[np.int64]) -> _Bounds:
    """The bounds of a hardmax scoring, by Clopper and Pearson."""
    radius, p_lower, p_upper = vote_bounds(
        counts.tolist(),
        choice.top,
        choice.sides,
        n=setting.n,
        alpha=setting.alpha,
        sigma=setting.sigma,
        tail_mass=setting.tail_mass,
    )
    if p_upper is None:
        p_upper = min(1.0, math.nextafter(1 - p_lower, 2.0))
    return _Bounds(p_lower, p_upper, radius, None, radius)


def _ends(choice: Choice, setting: Setting, moments: Moments) -> tuple[float, float]:
    """Lower bound of the class's mean score, upper bound of all others', together false with alpha at most.

    The largest of the other classes' upper bounds is one for each class: it is not below that of the class whose
    true mean is largest, which is the same whatever was drawn. So it costs no union over the classes.
    """
    top = choice.top
    delta = setting.alpha if choice.sides == "one-sided" else setting.alpha / 2
    apart = math.nextafter(setting.tail_mass + (choice.scoring.lipschitz(setting.logits_error) or 0.0), math.inf)
    p_lower = max(0.0, math.nextafter(_interval(setting, moments, top, delta)[0] - apart, -1.0))
    # scores add up to one, but for their last bits
    p_upper = min(1.0, 1 - p_lower + (len(moments.mean) + 4) * 2.0**-51)
    if choice.sides == "two-sided":
        rival = max(_interval(setting, moments, j, delta)[1] for j in range(len(moments.mean)) if j != top)
        p_upper = min(p_upper, math.nextafter(rival + apart, 2.0))
    return p_lower, p_upper


def _interval(setting: Setting, moments: Moments, j: int, delta: float) -> tuple[float, float]:
    # Each chunk's mean and each merge rounds a few times, each score as exp of a number up to 40 or so (those of
    # larger ones are nothing): 2^-50 a chunk and 2^-44 hold for all of it.
    slack = (chunks(setting.n) + 64) * 2.0**-50
    mean = min(1.0, max(0.0, float(moments.mean[j])))
    low, high = bernstein_interval(mean, float(moments.variance[j]) * (1 + slack) + slack, setting.n, delta=delta)
    return low - slack, high + slack
