"""What is asked of g, on a shard: of every input what its votes say. What the order brings is not counted again."""

import math
from collections.abc import Callable

import numpy as np
import torch

from models.tables.chunk import REUSED
from radii.methods import Median, Prediction, Smoothed, Smoothing
from radii.norms import converted, in_l2
from radii.smoothing import Noise, grid_of, noise_of, prediction_test
from radii.smoothing.prediction import winner
from radii.smoothing.procedure import Procedure, decision_procedure, radius_procedure, requests
from radii.smoothing.simplex import Scoring
from workers.execution import Ask, Runs
from workers.medians import by_order
from workers.prepared import Emit, Json, Prepared, clean_predictions, inputs, result
from workers.sampled import Sampled
from workers.scores import by_scores, network_lipschitz
from workers.together import Said, answers

Test = Callable[[Noise, torch.device], None]


def smooth(
    method: Smoothing | Prediction | Median,
    model: Prepared,
    order: Json,
    emit: Emit,
    ask: Ask,
    test: Test,
    together: int | None = None,
) -> None:
    """Every input that has no result yet, in the order in which they are known; ``test`` raises where the noise of a
    device is not to be trusted; ``together``: as of :class:`Runs`. Raises ``ValueError`` where the order does not add
    up."""
    lipschitz, why_not = network_lipschitz(method, model) if method.soft else (None, None)
    # Scores of "round, then f" jump at every step of the grid: what counts on their constant has ideal noise.
    noise = _noise(method, order["grid"], model.device) if lipschitz is None else noise_of("gaussian", method.sigma)
    test(noise, model.device if lipschitz is None else torch.device("cpu"))
    exact = lipschitz is not None
    runs = Runs(method, model, order, noise, ask, exact=exact, together=together)
    xs, ys = inputs(order, model.graph)
    known = {(chunk["index"], chunk["stage"], chunk["number"]): chunk for chunk in order["chunks"]}
    alpha = math.nextafter(method.alpha / order["inputs"], 0.0) if method.family_wise else method.alpha
    tasks = (
        Sampled(method, model, order, emit, runs, noise, alpha, known, index, np.array(xs[index]), exact)
        for index in order["indices"]
    )
    clean: dict[int, int | None] = {}
    if isinstance(method, Smoothing):
        clean = clean_predictions(runs.clean, xs, order["indices"], torch.device("cpu") if exact else model.device)
    asked = ((task, _procedure(method, task, lipschitz, why_not)) for task in tasks)
    for task, (prediction, radius, detail), seconds in answers(asked, runs):
        index = task.index
        # a median from the ledger says itself what drew and ran its samples
        detail = {"noise": noise.name, **runs.said(), **detail, "seconds": seconds}
        if index in clean:
            detail["clean_prediction"] = clean[index]
        abstained = (prediction if isinstance(method, Prediction) else radius) is None
        if (
            isinstance(method, Smoothing)
            and index in order["cross_check"]
            and prediction is not None
            and radius is not None
        ):
            scores = detail.get("scores")
            scoring = Scoring(scores["map"], scores["factor"]) if scores else Scoring("hardmax")
            detail["attack"] = task.attack(prediction, radius, method.norm, scoring)
        emit("result", result(index, ys, prediction, radius, abstained, detail))


def _procedure(
    method: Smoothing | Prediction | Median, task: Sampled, lipschitz: float | None, why_not: str | None
) -> Procedure[Said]:
    """Mean scores and medians ask for no votes: they need moments and outputs, which they draw themselves, input after
    input."""
    if isinstance(method, Prediction):
        return (yield from _answered(method, task))
    if isinstance(method, Median):
        return by_order(method, task)
    if method.soft:
        return by_scores(method, task, lipschitz, why_not)
    if method.target_radius is not None and (known := task.chunk("estimate", REUSED)) is not None:
        return (yield from _decided(method, method.target_radius, known))
    return (yield from _by_votes(method, task))


def _answered(method: Prediction, task: Sampled) -> Procedure[Said]:
    """g's class, no radius, and what is said of it."""
    counts = (yield requests("predict", method.n)).tolist()
    answer = prediction_test(counts, alpha=task.alpha, tail_mass=task.law["tail_mass"])
    return answer.prediction, None, {"counts": counts, "n": sum(counts), "p_value": answer.p_value}


def _by_votes(method: Smoothing, task: Sampled) -> Procedure[Said]:
    law = task.law | {"law": task.noise.law, "n0": method.n0, "n": method.n}
    if method.target_radius is None:
        found = yield from radius_procedure(**law)
        radius = None if found.radius is None else converted(found.radius, method.norm, task.row.size)
    else:
        target = in_l2(method.target_radius, method.norm, task.row.size)
        found = yield from decision_procedure(target_radius=target, **law)
        radius = None if found.radius is None else method.target_radius
    detail = {
        "pilot_class": found.pilot_class,
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


def _decided(method: Smoothing, target_radius: float, known: Json) -> Procedure[Said]:
    """The same from the ledger, which has the answer to the very question."""
    pilot = yield requests("pilot", method.n0)
    decision, n = known["scores"]["decision"], sum(known["counts"])
    certified = decision == "certified"
    top, finite = winner(pilot)
    detail = {
        "pilot_class": known["scores"]["prediction"] if certified else top if finite else None,
        "counts": known["counts"],
        "pilot_counts": pilot.tolist(),
        "n": n,
        "unspent": method.n - n,
        "p_lower": None,
        "p_upper": None,
        "sides": None,
        "decision": decision,
    }
    return known["scores"]["prediction"], target_radius if certified else None, detail


def _noise(method: Smoothed, grid: list[float] | None, device: torch.device) -> Noise:
    """In whole steps where the data set is 8-bit and the method does not mind."""
    if grid is not None and method.grid != "off":
        try:
            return grid_of(method.noise, method.sigma, *grid, device=device)
        except ValueError:  # so wide that no table holds it
            if method.grid == "on":
                raise
    return noise_of(method.noise, method.sigma, device)
