"""What is asked of g, on a shard: input by input, chunk by chunk. What the order brings is not counted again."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.tables.chunk import REUSED
from radii.attacks import SmoothedAttack
from radii.lipschitz import UnboundedModel
from radii.methods import Lipschitz, Prediction, Smoothed, Smoothing
from radii.norms import Norm, converted, in_l2
from radii.smoothing import (
    GRIDS,
    Moments,
    Noise,
    certify_decision,
    certify_radius,
    chunk_size,
    chunks,
    count_chunk,
    input_digest,
    noise_key,
    noise_of,
    prediction_test,
)
from radii.smoothing.executors import START
from radii.smoothing.keys import Stage
from radii.smoothing.prediction import Counts
from radii.smoothing.sampling import Classifier, logits_chunk
from radii.smoothing.simplex import GENTLEST, Scoring
from radii.smoothing.soft import GENTLE, Choice, Setting, certify_soft, choose
from workers.cross_check import attacked
from workers.execution import Ask, Runs
from workers.prepared import Emit, Json, Prepared, inputs, result

Test = Callable[[Noise, torch.device], None]


def smooth(method: Smoothing | Prediction, model: Prepared, order: Json, emit: Emit, ask: Ask, test: Test) -> None:
    """Every input that has no result yet; ``test`` raises where the noise of a device is not to be trusted. Raises
    ``ValueError`` where the order does not add up."""
    lipschitz, why_not = _network_lipschitz(method, model) if method.soft else (None, None)
    # Scores of "round, then f" jump at every step of the grid: what counts on their constant has ideal noise.
    noise = _noise(method, order["grid"], model.device) if lipschitz is None else noise_of("gaussian", method.sigma)
    test(noise, model.device if lipschitz is None else torch.device("cpu"))
    runs = Runs(method, model, order, noise, ask, exact=lipschitz is not None)
    xs, ys = inputs(order, model.graph)
    known = {(chunk["index"], chunk["stage"], chunk["number"]): chunk for chunk in order["chunks"]}
    alpha = math.nextafter(method.alpha / order["inputs"], 0.0) if method.family_wise else method.alpha
    for index in order["indices"]:
        started = time.perf_counter()
        task = _Input(
            method, model, order, emit, runs, noise, alpha, known, index, np.array(xs[index]), lipschitz is not None
        )
        scoring = Scoring("hardmax")
        if isinstance(method, Prediction):
            prediction, radius, detail = _answered(method, task)
        elif method.soft:
            prediction, radius, detail = _by_scores(method, task, lipschitz, why_not)
            scoring = Scoring(detail["scores"]["map"], detail["scores"]["factor"])
        else:
            prediction, radius, detail = _by_votes(method, task)
        detail |= {"noise": noise.name, **runs.said(), "seconds": time.perf_counter() - started}
        abstained = (prediction if isinstance(method, Prediction) else radius) is None
        if (
            isinstance(method, Smoothing)
            and index in order["cross_check"]
            and prediction is not None
            and radius is not None
        ):
            detail["attack"] = task.attack(prediction, radius, method.norm, scoring)
        emit("result", result(index, ys, prediction, radius, abstained, detail))


@dataclass(frozen=True)
class _Input:
    """One input, and everything that its samples follow from."""

    method: Smoothed
    model: Prepared
    order: Json
    emit: Emit
    runs: Runs
    noise: Noise
    alpha: float
    known: Mapping[tuple[int, str, int], Json]
    index: int
    row: npt.NDArray[np.float32]
    exact: bool
    """In float64, on the CPU, where a radius counts on the constant of the network in real arithmetic."""

    @cached_property
    def x(self) -> Tensor:
        return torch.from_numpy(self.row).to("cpu" if self.exact else self.model.device)

    @cached_property
    def classifier(self) -> Classifier:
        """What is sampled, by torch, with gradients: noisy copies (batch, *shape) to logits."""
        # The module is made here, outside inference mode, where it would have no gradients for an attack.
        if self.exact:
            network = self.model.logits
            return lambda noisy: network(noisy.double())
        return self.model.scorer if self.method.soft else self.model.classifier

    @cached_property
    def call(self) -> Json:
        """What all samples have in common."""
        name = self.noise.name + ("/soft" if self.method.soft else "")
        key = noise_key(
            bytes.fromhex(self.order["secret"]),
            model_digest=self.model.graph.digest,
            input_digest=input_digest(self.row),
            noise=name,
            sigma=self.method.sigma,
        )
        return {"num_classes": self.model.graph.num_classes, "noise": self.noise, "key": key}

    def sample(self, of_chunk: Callable[..., Any], stage: Stage, number: int, size: int) -> Any:
        """What ``of_chunk`` makes of the first ``size`` samples of a chunk."""
        chunk = {"stage": stage, "number": number, "size": size, "batch_size": self.runs.execution.batch_size}
        return of_chunk(self.runs.classifier, self.x, **chunk, **self.call)

    @property
    def law(self) -> Json:
        size = self.row.size
        return {"alpha": self.alpha, "sigma": self.method.sigma, "tail_mass": self.noise.tail_mass(size)}

    def chunk(self, stage: Stage, number: int) -> Json | None:
        """What is counted already."""
        return self.known.get((self.index, stage, number))

    def keep(self, stage: Stage, number: int, counts: Counts, scores: Json | None = None) -> None:
        counted = [int(count) for count in counts]
        chunk = {"index": self.index, "stage": stage, "number": number, "counts": counted, "scores": scores}
        self.emit("chunk", chunk)

    def count(self, stage: Stage, number: int, size: int) -> Counts:
        """The votes of a chunk, which may be counted already."""
        if (first := self.chunk(stage, REUSED)) is not None and number < chunks(sum(first["counts"])):
            return list(first["counts"]) if number == 0 else [0] * len(first["counts"])
        if (chunk := self.chunk(stage, number)) is not None:
            return list(chunk["counts"])
        counts: Counts = self.sample(count_chunk, stage, number, size)
        self.keep(stage, number, counts)
        return counts

    def attack(self, prediction: int, radius: float, norm: Norm, scoring: Scoring) -> Json:
        attack = partial(
            SmoothedAttack(batch_size=self.order["batch_size"] or START),
            self.classifier,
            self.x,
            noise=self.noise,
            num_classes=self.call["num_classes"],
            prediction=prediction,
            radius=radius,
            norm=norm,
            key=self.call["key"],
            scoring=scoring,
        )
        return attacked(self.row, attack)


def _answered(method: Prediction, task: _Input) -> tuple[int | None, None, Json]:
    """g's class, no radius, and what is said of it."""
    parts = [task.count("predict", number, chunk_size(method.n, number)) for number in range(chunks(method.n))]
    counts = [sum(map(int, votes)) for votes in zip(*parts, strict=True)]
    answer = prediction_test(counts, alpha=task.alpha, tail_mass=task.law["tail_mass"])
    return answer.prediction, None, {"counts": counts, "n": sum(counts), "p_value": answer.p_value}


def _by_votes(method: Smoothing, task: _Input) -> tuple[int | None, float | None, Json]:
    """Prediction, radius in the norm that was asked, and what is said of them."""
    law = task.law | {"law": task.noise.law, "n0": method.n0, "n": method.n}
    if method.target_radius is None:
        found = certify_radius(task.count, **law)
        radius = None if found.radius is None else converted(found.radius, method.norm, task.row.size)
    else:
        target = in_l2(method.target_radius, method.norm, task.row.size)
        found = certify_decision(task.count, target_radius=target, **law)
        radius = None if found.radius is None else method.target_radius
    detail = {
        "counts": list(found.counts),
        "pilot_counts": list(found.pilot_counts),
        "n": found.n,
        "unspent": method.n - found.n,
        "p_lower": found.p_lower,
        "p_upper": found.p_upper,
        "sides": found.sides,
        "decision": found.decision,
    }
    return found.prediction, radius, detail


def _by_scores(
    method: Smoothing, task: _Input, lipschitz: float | None, why_not: str | None
) -> tuple[int | None, float | None, Json]:
    """As :func:`_by_votes`, for mean scores."""
    size = task.row.size

    def logits(stage: Stage, number: int, samples: int) -> npt.NDArray[np.floating]:
        return task.sample(logits_chunk, stage, number, samples)  # type: ignore[no-any-return]

    def score(number: int, samples: int, scoring: Scoring) -> tuple[Counts, Moments]:
        if (first := task.chunk("estimate", REUSED)) is not None:
            kept = first["scores"]
            if any(kept[name] != value for name, value in (drawn | asdict(scoring)).items()):
                raise ValueError(f"the ledger's scores are not of {drawn} and {scoring}")
            whole = Moments(sum(first["counts"]), np.array(kept["mean"]), np.array(kept["squares"]))
            nothing = Moments(0, np.zeros_like(whole.mean), np.zeros_like(whole.squares))
            return (first["counts"], whole) if number == 0 else ([0] * len(first["counts"]), nothing)
        if (chunk := task.chunk("estimate", number)) is not None:
            kept = chunk["scores"]
            return chunk["counts"], Moments(samples, np.array(kept["mean"]), np.array(kept["squares"]))
        z = logits("estimate", number, samples)
        counts, moments = _votes(z), Moments.of(scoring.scores(z))
        task.keep("estimate", number, counts, {"mean": moments.mean.tolist(), "squares": moments.squares.tolist()})
        return counts, moments

    drawn = {"precision": "float64" if task.exact else "float32"}  # the latter may not count on the constant
    error = 0.0 if lipschitz is None else _logits_error(task)
    setting = Setting(method.n, **task.law, network_lipschitz=lipschitz, logits_error=error)
    if (chunk := task.chunk("pilot", 0) or task.chunk("pilot", REUSED)) is not None:
        said = chunk["scores"]
        choice = Choice(Scoring(said["map"], said["factor"]), said["top"], said["sides"], tuple(chunk["counts"]))
    else:
        parts = [logits("pilot", number, chunk_size(method.n0, number)) for number in range(chunks(method.n0))]
        choice = choose(np.concatenate(parts), setting)
        scoring = choice.scoring
        said = {"map": scoring.map, "factor": scoring.factor, "top": choice.top, "sides": choice.sides}
        task.keep("pilot", 0, choice.pilot_counts, said)
    found = certify_soft(choice, score, setting)
    radius, plain = (None if r is None else converted(r, method.norm, size) for r in (found.radius, found.plain_radius))
    detail = {
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


def _logits_error(task: _Input) -> float:
    """How far the logits in float64 are from the network's in real arithmetic, expected over the noise."""
    # The bound is affine in a sample's norm, whose mean is at most |x| + sigma sqrt(d); the last factor is more than
    # float32 rounds.
    norm = float(np.linalg.norm(task.row.astype(np.float64))) + task.method.sigma * math.sqrt(task.row.size)
    return task.model.bound(Lipschitz()).error.at(norm * (1 + 2.0**-6))


def _network_lipschitz(method: Smoothed, model: Prepared) -> tuple[float | None, str | None]:
    """The constant of the logits, where it can enlarge a radius; or why it cannot."""
    if method.grid == "on":
        return None, "grid is on, and scores of a rounded input jump; leave grid at auto"
    try:
        bound = model.bound(Lipschitz())
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


def _noise(method: Smoothed, grid: list[float] | None, device: torch.device) -> Noise:
    """In whole steps where the data set is 8-bit and the method does not mind."""
    if grid is not None and method.grid != "off":
        try:
            return GRIDS[method.noise](method.sigma, *grid)
        except ValueError:  # so wide that no table holds it
            if method.grid == "on":
                raise
    return noise_of(method.noise, method.sigma, device)
