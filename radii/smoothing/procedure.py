"""The two procedures of smoothing, over whoever counts the votes: this process, or workers who were interrupted.

No torch. The class comes from a pilot; the samples that certify it are drawn afterwards, for themselves.

A procedure is a generator that asks for votes and does not care who counts them, when, or beside what else: so many
inputs can share a batch. :func:`counted` runs one to its end. See docs/numerics.md 7.1.
"""

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from radii.smoothing.keys import Stage, chunk_size, chunks
from radii.smoothing.prediction import Counts, SmoothedPrediction, certificate, winner
from radii.smoothing.radius import check_settings, minimum_n, probability_lower
from radii.smoothing.sequential import SequentialTest, check_target

CountChunk = Callable[[Stage, int, int], Counts]
"""(stage, chunk number, size) to the votes of so many samples of that chunk's stream."""

Votes = npt.NDArray[np.int64]
"""Votes by class; the last entry counts non-finite logits."""


class Request(NamedTuple):
    """The first ``size`` samples of a chunk's stream."""

    stage: Stage
    number: int
    size: int


T = TypeVar("T")
Procedure = Generator[list[Request], Votes, T]
"""Yields what it needs counted next, in any order, and is sent the sum of those votes; returns what it concludes."""


def requests(stage: Stage, n: int) -> list[Request]:
    """All chunks of n samples."""
    return [Request(stage, number, chunk_size(n, number)) for number in range(chunks(n))]


def counted(procedure: Procedure[T], count: CountChunk) -> T:
    """What a procedure concludes from the votes of ``count``, chunk after chunk."""
    votes: Votes | None = None
    while True:
        try:
            wanted = next(procedure) if votes is None else procedure.send(votes)
        except StopIteration as end:
            found: T = end.value
            return found
        votes = np.sum([np.asarray(count(*request), np.int64) for request in wanted], axis=0)


def certify_radius(
    count: CountChunk, *, n0: int, n: int, alpha: float, sigma: float, tail_mass: float, law: str = "gaussian"
) -> SmoothedPrediction:
    """CERTIFY of Cohen et al. 2019: n0 pilot samples choose the class, n fresh ones bound its radius.

    Raises ValueError, before anything is counted, for an n that can certify nothing at alpha.
    """
    return counted(radius_procedure(n0=n0, n=n, alpha=alpha, sigma=sigma, tail_mass=tail_mass, law=law), count)


def radius_procedure(
    *, n0: int, n: int, alpha: float, sigma: float, tail_mass: float, law: str = "gaussian"
) -> Procedure[SmoothedPrediction]:
    """:func:`certify_radius`, as a procedure."""
    _check_pilot(n0)
    if probability_lower(n, n, alpha=alpha, tail_mass=tail_mass) <= 0.5:
        raise ValueError(f"n: {n} samples can certify nothing at alpha = {alpha}; take at least {minimum_n(alpha)}")
    pilot = yield requests("pilot", n0)
    fresh = yield requests("estimate", n)
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
    law: str = "gaussian",
) -> SmoothedPrediction:
    """Whether the radius is at least ``target_radius``, with as many of n samples as that needs.

    See :class:`SequentialTest`, also for what the three decisions mean. It is looked at after fixed numbers of samples
    (:func:`looks`), each a chunk. A radius that no n votes certify at alpha takes none, and stays undecided.
    """
    procedure = decision_procedure(
        target_radius=target_radius, n0=n0, n=n, alpha=alpha, sigma=sigma, tail_mass=tail_mass, law=law
    )
    return counted(procedure, count)


def decision_procedure(
    *, target_radius: float, n0: int, n: int, alpha: float, sigma: float, tail_mass: float, law: str = "gaussian"
) -> Procedure[SmoothedPrediction]:
    """:func:`certify_decision`, as a procedure."""
    _check_pilot(n0)
    settings = {"alpha": alpha, "sigma": sigma, "tail_mass": tail_mass}
    check_settings(n, **settings)
    check_target(target_radius)
    pilot = yield requests("pilot", n0)
    top, known = winner(pilot)
    test = SequentialTest(target_radius, pilot, n_max=n, law=law, **settings)
    for number, size in enumerate(looks(n)):
        if test.over:
            break
        test.update((yield [Request("estimate", number, size)]))
    certified = test.decision == "certified"
    return SmoothedPrediction(
        prediction=top if certified else None,
        pilot_class=top if known else None,
        radius=target_radius if certified else None,
        abstained=not certified,
        p_lower=None,
        p_upper=None,
        sides=None,
        decision=test.decision,
        counts=tuple(test.counts),
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
