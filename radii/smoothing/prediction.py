"""From the counts of both stages to what is said of one input. No torch."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.smoothing.radius import probability_lower, radius_one_sided

Counts = Sequence[int] | npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class SmoothedPrediction:
    """What randomized smoothing says of one input.

    With probability at least ``1 - alpha`` over the noise: if not ``abstained``, the smoothed classifier answers
    ``prediction`` everywhere within l2 distance ``radius`` (input units, rounded down) of the input.
    """

    prediction: int | None
    """The pilot's class, also when abstained; None when most pilot samples had non-finite logits."""
    radius: float | None
    """None when abstained."""
    abstained: bool
    p_lower: float | None
    """Lower bound of the class's probability under the noise, the missing tail already taken off."""
    counts: tuple[int, ...]
    """Votes of the n estimation samples by class; the last entry counts non-finite logits."""
    pilot_counts: tuple[int, ...]
    n: int
    alpha: float
    sigma: float
    tail_mass: float


def certificate(
    pilot_counts: Counts, counts: Counts, *, n: int, alpha: float, sigma: float, tail_mass: float
) -> SmoothedPrediction:
    """CERTIFY of Cohen et al. 2019: the class from the pilot alone, its bound from n fresh samples.

    Both counts have one entry a class and a last one for non-finite logits, which is a class that no radius is
    given for. Ties go to the lowest index. Raises ValueError when the counts do not add up to n.
    """
    pilot, fresh = _counts("pilot_counts", pilot_counts), _counts("counts", counts)
    if len(pilot) != len(fresh):
        raise ValueError(f"pilot_counts: {len(pilot)} entries, but counts has {len(fresh)}")
    if sum(pilot) == 0:
        raise ValueError("pilot_counts: no samples; the class must come from a pilot of at least one")
    if sum(fresh) != n:
        raise ValueError(f"counts: add up to {sum(fresh)}, not to n = {n}; a chunk is missing or counted twice")
    top = pilot.index(max(pilot))
    known = top < len(pilot) - 1
    # Computed whatever the pilot says, so that bad arguments are refused every time.
    radius = radius_one_sided(fresh[top], n, alpha=alpha, sigma=sigma, tail_mass=tail_mass)
    p_lower = probability_lower(fresh[top], n, alpha=alpha, tail_mass=tail_mass)
    return SmoothedPrediction(
        prediction=top if known else None,
        radius=radius if known else None,
        abstained=not known or radius is None,
        p_lower=p_lower if known else None,
        counts=fresh,
        pilot_counts=pilot,
        n=n,
        alpha=alpha,
        sigma=sigma,
        tail_mass=tail_mass,
    )


def _counts(name: str, values: Counts) -> tuple[int, ...]:
    counts = tuple(map(operator.index, values))
    if len(counts) < 2 or min(counts) < 0:
        raise ValueError(f"{name}: must be at least 2 numbers, none negative (classes, then non-finite logits)")
    return counts
