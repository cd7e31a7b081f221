"""The two procedures of smoothing, over whoever counts the votes: this process, or workers who were interrupted.

No torch. The class comes from a pilot; the samples that certify it are drawn afterwards, for themselves.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from radii.norms import Law
from radii.smoothing.keys import Stage, chunk_size, chunks
from radii.smoothing.prediction import Counts, SmoothedPrediction, certificate, winner
from radii.smoothing.radius import minimum_n, probability_lower
from radii.smoothing.sequential import SequentialTest

CountChunk = Callable[[Stage, int, int], Counts]
"""(stage, chunk number, size) to the votes of so many samples of that chunk's stream."""


def certify_radius(
    count: CountChunk, *, n0: int, n: int, alpha: float, sigma: float, tail_mass: float, law: Law = "gaussian"
) -> SmoothedPrediction:
    """CERTIFY of Cohen et al. 2019: n0 pilot samples choose the class, n fresh ones bound its radius.

    Raises ValueError, before anything is counted, for an n that can certify nothing at alpha.
    """
    _check_pilot(n0)
    if probability_lower(n, n, alpha=alpha, tail_mass=tail_mass) <= 0.5:
        raise ValueError(f"n: {n} samples can certify nothing at alpha = {alpha}; take at least {minimum_n(alpha)}")
    pilot = _sum(count("pilot", number, chunk_size(n0, number)) for number in range(chunks(n0)))
    fresh = _sum(count("estimate", number, chunk_size(n, number)) for number in range(chunks(n)))
    return certificate(pilot, fresh, n=n, alpha=alpha, sigma=sigma, tail_mass=tail_mass, law=law)


def certify_decision(
    count: CountChunk,
    *,
    target_radius: float,
    n0: int,
    n: int,
    alpha: float,
    sigma: float,
    tail_mass: float,
    law: Law = "gaussian",
) -> SmoothedPrediction:
    """Whether the radius is at least ``target_radius``, with as many of n samples as that needs.

    See :class:`SequentialTest`. It is looked at after fixed numbers of samples (:func:`looks`), each a chunk.
    A radius that no n votes certify at alpha takes none, and stays undecided.
    """
    _check_pilot(n0)
    test = SequentialTest(target_radius, sigma=sigma, alpha=alpha, n_max=n, tail_mass=tail_mass, law=law)
    pilot = _sum(count("pilot", number, chunk_size(n0, number)) for number in range(chunks(n0)))
    top, known = winner(pilot)
    fresh = np.zeros_like(pilot)
    if known and not test.over:
        for number, size in enumerate(looks(n)):
            votes = np.asarray(count("estimate", number, size))
            fresh += votes
            test.update(int(votes[top]), size)
            if test.over:
                break
    certified = test.decision == "certified"
    return SmoothedPrediction(
        prediction=top if known else None,
        radius=target_radius if certified else None,
        abstained=not certified,
        p_lower=None,
        p_upper=None,
        sides=None,
        decision=test.decision,
        counts=tuple(fresh.tolist()),
        pilot_counts=tuple(pilot.tolist()),
        n=test.n,
        alpha=alpha,
        sigma=sigma,
        tail_mass=tail_mass,
    )


def looks(n: int) -> Iterator[int]:
    """Numbers of samples between looks, n in all: 50 to a thousand, 250 to five thousand, then 1000."""
    taken = 0
    while taken < n:
        step = 50 if taken < 1000 else 250 if taken < 5000 else 1000
        yield min(step, n - taken)
        taken += step


def _check_pilot(n0: int) -> None:
    if n0 < 1:
        raise ValueError(f"n0: the class must come from a pilot of at least one sample, not {n0}")


def _sum(parts: Iterator[Counts]) -> npt.NDArray[np.int64]:
    total: npt.NDArray[np.int64] = np.sum([np.asarray(part, np.int64) for part in parts], axis=0)
    return total
