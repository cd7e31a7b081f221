"""Radii of mean scores (LVM-RS) for one input of a shard, and the network's constant, which may enlarge them."""

import math
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from models.counts import REUSED
from models.types import Json
from radii.lipschitz import UnboundedModel
from radii.methods import Smoothed, Smoothing
from radii.norms import converted
from radii.smoothing import Moments, chunk_size, chunks
from radii.smoothing.keys import Stage
from radii.smoothing.prediction import Counts
from radii.smoothing.sampling import logits_chunk
from radii.smoothing.simplex import GENTLEST, Scoring
from radii.smoothing.soft import GENTLE, Choice, Setting, certify_soft, choose
from workers.runner.loaded_model import LoadedModel
from workers.runner.sampled_input import SampledInput


def by_scores(
    method: Smoothing, task: SampledInput, lipschitz: float | None, why_not: str | None
) -> tuple[int | None, float | None, Json]:
    """Prediction, radius in the norm that was asked, and what is said of them, by mean scores."""
    size = task.row.size

    def logits(stage: Stage, number: int, samples: int) -> npt.NDArray[np.floating]:
        return task.sample(logits_chunk, stage, number, samples)  # type: ignore[no-any-return]

    def score(number: int, samples: int, scoring: Scoring) -> tuple[Counts, Moments]:
        if (first := task.chunk("estimate", REUSED)) is not None:
            kept = first.kept
            if any(kept[name] != value for name, value in (drawn | asdict(scoring)).items()):
                raise ValueError(f"the ledger's scores are not of {drawn} and {scoring}")
            whole = Moments(sum(first.counts), np.array(kept["mean"]), np.array(kept["squares"]))
            nothing = Moments(0, np.zeros_like(whole.mean), np.zeros_like(whole.squares))
            return (first.counts, whole) if number == 0 else ([0] * len(first.counts), nothing)
        if (chunk := task.chunk("estimate", number)) is not None:
            kept = chunk.kept
            return chunk.counts, Moments(samples, np.array(kept["mean"]), np.array(kept["squares"]))
        z = logits("estimate", number, samples)
        counts, moments = _votes(z), Moments.of(scoring.scores(z))
        task.keep("estimate", number, counts, {"mean": moments.mean.tolist(), "squares": moments.squares.tolist()})
        return counts, moments

    drawn = {"precision": "float64" if task.exact else "float32"}  # the latter may not count on the constant
    error = 0.0 if lipschitz is None else _logits_error(task)
    setting = Setting(method.n, **task.law, network_lipschitz=lipschitz, logits_error=error)
    if (chunk := task.chunk("pilot", 0) or task.chunk("pilot", REUSED)) is not None:
        said = chunk.kept
        choice = Choice(Scoring(said["map"], said["factor"]), said["top"], said["sides"], tuple(chunk.counts))
    else:
        parts = [logits("pilot", number, chunk_size(method.n0, number)) for number in range(chunks(method.n0))]
        choice = choose(np.concatenate(parts), setting)
        scoring = choice.scoring
        said = {"map": scoring.map, "factor": scoring.factor, "top": choice.top, "sides": choice.sides}
        task.keep("pilot", 0, choice.pilot_counts, said)
    found = certify_soft(choice, score, setting)
    radius, plain = (None if r is None else converted(r, method.norm, size) for r in (found.radius, found.plain_radius))
    detail = {
        "pilot_class": found.pilot_class,
        "counts": list(found.counts),
        "pilot_counts": list(found.pilot_counts),
        "n": found.n,
        "unspent": 0,
        "p_lower": found.p_lower,
        "p_upper": found.p_upper,
        "sides": found.sides,
        "decision": None,
        "plain_radius": plain,
        "scores": {
            "map": found.scoring.map,
            "factor": found.scoring.factor,
            "mean": list(found.mean),
            "variance": list(found.variance),
            "squares": list(found.squares),
            **drawn,
            "lipschitz": found.lipschitz,
            "why_not": _why_not(found.lipschitz, found.scoring, lipschitz, method.sigma) or why_not,
        },
    }
    return found.prediction, radius, detail


def _votes(logits: npt.NDArray[np.floating]) -> list[int]:
    return [int(count) for count in Scoring("hardmax").scores(logits).sum(axis=0)]


def _logits_error(task: SampledInput) -> float:
    """How far the logits in float64 are from the network's in real arithmetic, expected over the noise."""
    # The bound is affine in a sample's norm, whose mean is at most |x| + sigma sqrt(d); the last factor is more than
    # float32 rounds.
    norm = float(np.linalg.norm(task.row.astype(np.float64))) + task.method.sigma * math.sqrt(task.row.size)
    # infinite where a network may overflow: then nothing is certified
    return min(task.model.bound().error.at(norm * (1 + 2.0**-6)), 1e300)


def network_lipschitz(method: Smoothed, model: LoadedModel) -> tuple[float | None, str | None]:
    """The constant of the logits, where it can enlarge a radius; or why it cannot."""
    if method.grid == "on":
        return None, "grid is on, and scores of a rounded input jump; leave grid at auto"
    try:
        bound = model.bound()
    except UnboundedModel as error:
        nodes = ", ".join(sorted({f"{o.operator} (node {o.node})" for o in error.obstacles}))
        return None, f"the network has no Lipschitz bound: {nodes}"
    upper = bound.upper
    if not math.isfinite(bound.error.at(1.0)):
        return None, "what rounding does to the logits has no finite bound"
    least = Scoring("softmax", GENTLEST).lipschitz(upper)
    assert least is not None
    if not 0 < least * method.sigma <= GENTLE:
        return None, f"L sigma = {upper * method.sigma:.3g} for the logits; no map makes scores gentler than {GENTLE:g}"
    return upper, None


def _why_not(used: float | None, scoring: Scoring, network: float | None, sigma: float) -> str | None:
    """Why the constant of the scores did not enlarge this radius."""
    if used is not None or network is None:
        return None
    steep = scoring.lipschitz(network)
    if steep is None:
        return "votes jump; here they certify more than gentler scores"
    if steep * sigma > GENTLE:
        return f"L sigma = {steep * sigma:.3g} for these scores, above {GENTLE:g}"
    return "it certifies no more here"
