"""What the counts of both stages allow to be said of one input. No torch. Formulas: docs/numerics.md 4.2 and 7.1."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from radii.laws import LAWS
from radii.smoothing.radius import miss_upper, probability_lower, radius_one_sided, radius_two_sided, radius_under

Counts = Sequence[int] | npt.NDArray[np.integer]
Sides = Literal["one-sided", "two-sided"]
Decision = Literal["certified", "not certified", "undecided"]


@dataclass(frozen=True, slots=True)
class SmoothedPrediction:
    """What randomized smoothing says of one input.

    With probability at least ``1 - alpha`` over the noise: if not ``abstained``, the smoothed classifier answers
    ``prediction`` everywhere within distance ``radius`` (input units, rounded down) of the input, in the norm of the
    noise's law: l2 under Gaussian noise, l1 under others.
    """

    prediction: int | None
    """None when abstained."""
    pilot_class: int | None
    """What would have been certified, also when abstained: the pilot's class, or where nothing is drawn (splitting
    noise) that of most votes. None when most of those samples had non-finite logits."""
    radius: float | None
    """None when abstained. Where one radius was to be decided: that radius."""
    abstained: bool
    p_lower: float | None
    """Lower bound of the class's probability under the noise, the missing tail already taken off."""
    p_upper: float | None
    """Upper bound of every other class's; None where it is ``1 - p_lower``, and where one radius was to be decided."""
    sides: Sides | None
    """Whether the radius is of p_lower alone, or half the distance from ``Phi^-1`` of p_upper to that of p_lower. None
    for a decision."""
    decision: Decision | None
    """Where one radius was to be decided."""
    counts: tuple[int, ...]
    """Votes of the estimation samples by class; the last entry counts non-finite logits."""
    pilot_counts: tuple[int, ...]
    n: int
    """Estimation samples taken."""
    alpha: float
    sigma: float
    tail_mass: float


def certificate(
    pilot_counts: Counts,
    counts: Counts,
    *,
    n: int,
    alpha: float,
    sigma: float,
    tail_mass: float,
    law: str = "gaussian",
) -> SmoothedPrediction:
    """The radius of one input: the class, and one or two sides, from the pilot alone; the bound from n fresh samples.

    CERTIFY of Cohen et al. 2019, and for Gaussian noise its two-sided form where the pilot promises more of it. Both
    counts have one entry a class and a last one for non-finite logits, which is a class that no radius is given for.
    Ties go to the lowest index. Raises ValueError when the counts do not add up to n.
    """
    pilot, fresh = checked_counts("pilot_counts", pilot_counts), checked_counts("counts", counts)
    if len(pilot) != len(fresh):
        raise ValueError(f"pilot_counts: {len(pilot)} entries, but counts has {len(fresh)}")
    if sum(fresh) != n:
        raise ValueError(f"counts: add up to {sum(fresh)}, not to n = {n}; a chunk is missing or counted twice")
    top, known = winner(pilot)
    settings = {"alpha": alpha, "sigma": sigma, "tail_mass": tail_mass}
    # Computed whatever the pilot says, so that bad arguments are refused every time.
    sides = sides_of(pilot, top, n, law=law, **settings)
    radius, p_lower, p_upper = vote_bounds(fresh, top, sides, n=n, law=law, **settings)
    abstained = not known or radius is None
    return SmoothedPrediction(
        prediction=None if abstained else top,
        pilot_class=top if known else None,
        radius=None if abstained else radius,
        abstained=abstained,
        p_lower=p_lower if known else None,
        p_upper=p_upper if known else None,
        sides=sides,
        decision=None,
        counts=fresh,
        pilot_counts=pilot,
        n=n,
        alpha=alpha,
        sigma=sigma,
        tail_mass=tail_mass,
    )


def vote_bounds(
    counts: Sequence[int],
    top: int,
    sides: Sides,
    *,
    n: int,
    alpha: float,
    sigma: float,
    tail_mass: float,
    law: str = "gaussian",
) -> tuple[float | None, float, float | None]:
    """Radius of class ``top`` (None to abstain), lower bound of its probability, upper bound of every other class's
    (None: one less the lower bound). Two sides are for Gaussian noise.
    """
    settings = {"alpha": alpha, "sigma": sigma, "tail_mass": tail_mass}
    if sides == "one-sided":
        p_lower = probability_lower(counts[top], n, alpha=alpha, tail_mass=tail_mass)
        return radius_under(LAWS[law], counts[top], n, **settings), p_lower, None
    rival = _rival(counts, top)
    p_lower = probability_lower(counts[top], n, alpha=alpha / 2, tail_mass=tail_mass)
    p_upper = min(1.0, math.nextafter(miss_upper(n - rival, n, alpha / 2) + tail_mass, 2.0))
    return radius_two_sided(counts[top], rival, n, **settings), p_lower, p_upper


def winner(pilot_counts: Counts) -> tuple[int, bool]:
    """The pilot's class, and whether it is one (most votes may be non-finite). Raises ValueError without votes."""
    pilot = checked_counts("pilot_counts", pilot_counts)
    if sum(pilot) == 0:
        raise ValueError("pilot_counts: no samples; the class must come from a pilot of at least one")
    top = pilot.index(max(pilot))
    return top, top < len(pilot) - 1


def sides_of(
    pilot: Sequence[int], top: int, n: int, *, alpha: float, sigma: float, tail_mass: float, law: str = "gaussian"
) -> Sides:
    """Whichever would give the larger radius if n samples voted as the pilot did. Two are for Gaussian noise."""
    settings = {"alpha": alpha, "sigma": sigma, "tail_mass": tail_mass}
    n0 = sum(pilot)
    count, rival = (round(n * (votes / n0)) for votes in (pilot[top], _rival(pilot, top)))
    count, rival = min(count, n), min(rival, n - min(count, n))
    one, two = radius_one_sided(count, n, **settings), radius_two_sided(count, rival, n, **settings)
    return "two-sided" if LAWS[law].two_sided and (two or 0) > (one or 0) else "one-sided"


def _rival(counts: Sequence[int], top: int) -> int:
    return max(count for j, count in enumerate(counts) if j != top)


def checked_counts(name: str, values: Counts) -> tuple[int, ...]:
    """As integers. Raises ValueError, naming the argument, for what no votes are."""
    counts = tuple(map(operator.index, values))
    if len(counts) < 2 or min(counts) < 0:
        raise ValueError(f"{name}: must be at least 2 numbers, none negative (classes, then non-finite logits)")
    return counts
