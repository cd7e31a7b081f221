"""LVM-RS (Delattre et al., ICLR 2024, arXiv 2309.16883): radii of mean scores instead of votes. No torch.

g answers the class whose score is largest on average over the noise. For scores in [0, 1], ``Phi^-1`` of a mean score
is ``1/sigma``-Lipschitz in l2 (Salman et al. 2019), as a share of votes is. Scores vary less than votes, so their mean
is known better; votes win where nearly all agree. The pilot chooses the map and its factor; n fresh samples certify.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.smoothing.keys import chunk_size, chunks
from radii.smoothing.lipschitz_aware import radius_lipschitz
from radii.smoothing.prediction import Counts, Sides, certificate
from radii.smoothing.radius import check_settings, floor_radius, z_lower
from radii.smoothing.scores import Moments, bernstein_interval
from radii.smoothing.simplex import CHOICES, Scoring

ScoreChunk = Callable[[int, int, Scoring], tuple[Counts, Moments]]
"""(chunk number, size, scoring) to the votes and the moments of the scores of so many fresh samples of that chunk."""

GENTLE = 4.0
"""Above this product of the scores' constant and sigma the radius gains nothing from it."""


@dataclass(frozen=True, slots=True)
class SoftPrediction:
    """What is said of one input: with probability at least ``1 - alpha`` over the noise, if not ``abstained``, the
    class of the largest mean score, under ``scoring``, is ``prediction`` everywhere within l2 distance ``radius``.
    """

    prediction: int | None
    """None when non-finite logits are the largest class of the pilot."""
    radius: float | None
    plain_radius: float | None
    """Without the Lipschitz constant; None to abstain."""
    scoring: Scoring
    lipschitz: float | None
    """Of the scores, where it enlarged the radius."""
    p_lower: float
    """Of the class's mean score."""
    p_upper: float
    """Of every other class's."""
    sides: Sides
    mean: tuple[float, ...]
    """Of the scores; the last entry: non-finite logits."""
    variance: tuple[float, ...]
    counts: tuple[int, ...]
    """Votes of the same samples."""
    pilot_counts: tuple[int, ...]
    n: int

    @property
    def abstained(self) -> bool:
        return self.radius is None


def certify_soft(
    pilot_logits: npt.NDArray[np.floating],
    score: ScoreChunk,
    *,
    n: int,
    alpha: float,
    sigma: float,
    tail_mass: float,
    network_lipschitz: float | None = None,
    scoring: Scoring | None = None,
) -> SoftPrediction:
    """The radius of one input under Gaussian noise.

    Args:
        pilot_logits: (n0, classes), of samples that ``score`` does not draw again.
        score: draws the n fresh samples.
        network_lipschitz: upper bound of the l2 constant of the logits, in the space and units of ``sigma``. Only for
            noise that is not rounded: scores of "round, then f" jump.
        scoring: what an interrupted run had chosen.

    Raises ValueError, naming the argument that is out of range.
    """
    check_settings(n, alpha, sigma, tail_mass)
    if n < 2 or len(pilot_logits) < 2:
        raise ValueError(f"n, pilot_logits: a variance needs at least 2 samples, not {n} and {len(pilot_logits)}")
    law = _Law(n, alpha, sigma, tail_mass, network_lipschitz)
    scoring = scoring or choose(pilot_logits, law)
    pilot = Moments.of(scoring.scores(pilot_logits))
    pilot_counts = Scoring("hardmax").scores(pilot_logits).sum(axis=0).astype(int)
    parts = [score(number, chunk_size(n, number), scoring) for number in range(chunks(n))]
    counts = np.sum([np.asarray(votes, np.int64) for votes, _ in parts], axis=0)
    if counts.sum() != n:
        raise ValueError(f"counts: add up to {counts.sum()}, not to n = {n}; a chunk is missing or counted twice")
    moments = parts[0][1]
    for _, part in parts[1:]:
        moments = moments.merge(part)
    if moments.n != n:
        raise ValueError(f"moments: of {moments.n} samples, not of n = {n}; a chunk is missing or counted twice")
    top = int(pilot.mean.argmax())
    known = top < len(counts) - 1
    bounds = law.bounds(scoring, pilot, moments, counts, pilot_counts)
    return SoftPrediction(
        prediction=top if known else None,
        radius=bounds.radius if known else None,
        plain_radius=bounds.plain if known else None,
        scoring=scoring,
        lipschitz=bounds.lipschitz,
        p_lower=bounds.p_lower,
        p_upper=bounds.p_upper,
        sides=bounds.sides,
        mean=tuple(moments.mean.tolist()),
        variance=tuple(moments.variance.tolist()),
        counts=tuple(counts.tolist()),
        pilot_counts=tuple(pilot_counts.tolist()),
        n=n,
    )


def choose(pilot_logits: npt.NDArray[np.floating], law: "_Law") -> Scoring:
    """The scoring that would give the largest radius if n samples scored as the pilot did; the first of equals."""
    n0 = len(pilot_logits)
    votes = Scoring("hardmax").scores(pilot_logits).sum(axis=0)
    counts = np.floor(votes / n0 * law.n).astype(np.int64)
    counts[votes.argmax()] += law.n - counts.sum()
    best, chosen = -1.0, CHOICES[0]
    for scoring in CHOICES:
        pilot = Moments.of(scoring.scores(pilot_logits))
        foreseen = Moments(law.n, pilot.mean, pilot.squares / n0 * law.n)
        radius = law.bounds(scoring, pilot, foreseen, counts, votes.astype(np.int64)).radius or 0.0
        if radius > best:
            best, chosen = radius, scoring
    return chosen


@dataclass(frozen=True, slots=True)
class _Bounds:
    p_lower: float
    p_upper: float
    sides: Sides
    plain: float | None
    lipschitz: float | None
    radius: float | None


@dataclass(frozen=True, slots=True)
class _Law:
    """What is known before any sample."""

    n: int
    alpha: float
    sigma: float
    tail_mass: float
    network_lipschitz: float | None

    def bounds(
        self,
        scoring: Scoring,
        pilot: Moments,
        moments: Moments,
        counts: npt.NDArray[np.int64],
        pilot_counts: npt.NDArray[np.int64],
    ) -> _Bounds:
        """Bounds and radius of the pilot's class, one- or two-sided as the pilot promises."""
        if scoring.map == "hardmax":
            row = certificate(
                pilot_counts.tolist(),
                counts.tolist(),
                n=self.n,
                alpha=self.alpha,
                sigma=self.sigma,
                tail_mass=self.tail_mass,
            )
            low = row.p_lower or 0.0
            sides: Sides = row.sides or "one-sided"
            high = row.p_upper if row.p_upper is not None else np.nextafter(1 - low, 2.0)
            return _Bounds(low, min(1.0, float(high)), sides, row.radius, None, row.radius)
        top = int(pilot.mean.argmax())
        foreseen = Moments(self.n, pilot.mean, pilot.squares / pilot.n * self.n)
        sides = max(("one-sided", "two-sided"), key=lambda s: self._radius(*self._ends(foreseen, top, s)) or 0.0)
        p_lower, p_upper = self._ends(moments, top, sides)
        plain = self._radius(p_lower, p_upper)
        steep = None if self.network_lipschitz is None else scoring.lipschitz(self.network_lipschitz)
        if steep is None or not 0 < steep * self.sigma <= GENTLE:
            return _Bounds(p_lower, p_upper, sides, plain, None, plain)
        aware = radius_lipschitz(p_lower, p_upper, sigma=self.sigma, lipschitz=steep)
        if (aware or 0.0) <= (plain or 0.0):  # two roundings of one number
            return _Bounds(p_lower, p_upper, sides, plain, None, plain)
        return _Bounds(p_lower, p_upper, sides, plain, steep, aware)

    def _ends(self, moments: Moments, top: int, sides: Sides) -> tuple[float, float]:
        """Lower bound of the mean score of ``top``, upper bound of all others', together false with alpha at most.

        The largest of the other classes' upper bounds is one for each class: it is not below that of the class whose
        true mean is largest, which is the same whatever was drawn. So it costs no union over the classes.
        """
        delta = self.alpha if sides == "one-sided" else self.alpha / 2
        p_lower = max(0.0, float(np.nextafter(self._interval(moments, top, delta)[0] - self.tail_mass, -1.0)))
        # scores add up to one, but for their last bits
        p_upper = min(1.0, 1 - p_lower + (len(moments.mean) + 4) * 2.0**-51)
        if sides == "two-sided":
            others = (j for j in range(len(moments.mean)) if j != top)
            rival = max(self._interval(moments, j, delta)[1] for j in others)
            p_upper = min(p_upper, float(np.nextafter(rival + self.tail_mass, 2.0)))
        return p_lower, p_upper

    def _interval(self, moments: Moments, j: int, delta: float) -> tuple[float, float]:
        # Each chunk's mean and each merge rounds a few times, each score as exp of a number up to 40 or so (those of
        # larger ones are nothing): 2^-50 a chunk and 2^-44 hold for all of it.
        slack = (chunks(self.n) + 64) * 2.0**-50
        mean = min(1.0, max(0.0, float(moments.mean[j])))
        low, high = bernstein_interval(mean, float(moments.variance[j]) * (1 + slack) + slack, self.n, delta=delta)
        return low - slack, high + slack

    def _radius(self, p_lower: float, p_upper: float) -> float | None:
        if p_lower <= 0 or p_upper >= 1 or p_lower <= p_upper:
            return None
        q = float(np.nextafter(1 - p_lower, 2.0))
        return floor_radius(self.sigma / 2 * (z_lower(q) + z_lower(max(p_upper, 1e-300))))
