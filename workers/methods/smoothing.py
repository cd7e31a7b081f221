"""Smoothing: of every input of a shard its radius, or whether one is reached, by votes or by mean scores."""

import torch

from models.counts import REUSED, ChunkCounts
from radii.methods import Smoothing
from radii.norms import converted, in_l2
from radii.smoothing.prediction import winner
from radii.smoothing.procedure import Procedure, decision_procedure, radius_procedure, requests
from radii.smoothing.simplex import Scoring
from workers.methods import Work
from workers.runner.batching import Said
from workers.runner.heartbeat import phase
from workers.runner.loaded_model import clean_predictions, inputs, result
from workers.runner.mean_scores import by_scores, network_lipschitz
from workers.runner.sampled_input import SampledInput
from workers.runner.smoothed_shard import count_part, runs_of, said


def compute(method: Smoothing, work: Work) -> None:
    """Every input that has no result yet."""
    if work.order.part is not None:
        with phase("sampling", work.model.device):
            count_part(method, work, runs_of(method, work))
        return
    lipschitz, why_not = network_lipschitz(method, work.model) if method.soft else (None, None)
    exact = lipschitz is not None
    runs = runs_of(method, work, exact=exact)
    xs, ys = inputs(work.order, work.model.graph)
    indices, device = work.order.indices, torch.device("cpu") if exact else work.model.device
    clean = clean_predictions(runs.clean, xs, indices, device)

    def procedure(task: SampledInput) -> Procedure[Said]:
        if method.soft:  # which needs moments, not votes: they are drawn at once, input after input
            return by_scores(method, task, lipschitz, why_not)
        if method.target_radius is not None and (known := task.chunk("estimate", REUSED)) is not None:
            return (yield from _decided(method, method.target_radius, known))
        return (yield from _by_votes(method, task))

    with phase("sampling", device):
        for task, (prediction, radius, detail) in said(method, work, runs, procedure):
            detail["clean_prediction"] = clean[task.index]
            if task.index in work.order.cross_check and prediction is not None and radius is not None:
                scores = detail.get("scores")
                scoring = Scoring(scores["map"], scores["factor"]) if scores else Scoring("hardmax")
                detail["attack"] = task.attack(prediction, radius, method.norm, scoring)
            work.emit(result(task.index, ys, prediction, radius, radius is None, detail))


def _by_votes(method: Smoothing, task: SampledInput) -> Procedure[Said]:
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


def _decided(method: Smoothing, target_radius: float, known: ChunkCounts) -> Procedure[Said]:
    """The same from the ledger, which has the answer to the very question."""
    pilot = yield requests("pilot", method.n0)
    decision, n = known.kept["decision"], sum(known.counts)
    certified = decision == "certified"
    top, finite = winner(pilot)
    detail = {
        "pilot_class": known.kept["prediction"] if certified else top if finite else None,
        "counts": known.counts,
        "pilot_counts": pilot.tolist(),
        "n": n,
        "unspent": method.n - n,
        "p_lower": None,
        "p_upper": None,
        "sides": None,
        "decision": decision,
    }
    return known.kept["prediction"], target_radius if certified else None, detail
