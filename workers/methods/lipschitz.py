"""The Lipschitz method on a shard: one bound of the network, then margins over it."""

import math
import time
from collections.abc import Iterator
from functools import partial

import torch

from models.types import Json
from radii.attacks import attack_network
from radii.execution.executors import START
from radii.lipschitz import margin_radius
from radii.methods import Lipschitz
from radii.norms import converted
from workers.messages import Report
from workers.methods import Work
from workers.runner.attacks import attacked
from workers.runner.heartbeat import phase
from workers.runner.loaded_model import classes, inputs, result


@phase("computing margins")
def compute(method: Lipschitz, work: Work) -> None:
    """The network's bound, then margins over it. The seconds of an input are its share of its batch, without the
    bound's."""
    model, order = work.model, work.order
    network = model.bound(method.bound, method.rtol, method.budget)
    work.emit(Report(network.to_json()))
    module = model.logits
    xs, ys = inputs(order, model.graph)
    for batch in _batches(order.indices, order.batch_size or START):
        started = time.perf_counter()
        x = torch.from_numpy(xs[batch]).to(torch.float64)
        with torch.inference_mode():
            logits = module(x)
        margins = margin_radius(logits, network, norms=x.flatten(1).norm(dim=1))
        seconds = (time.perf_counter() - started) / len(batch)
        for index, row, z, clean, found in zip(batch, x, logits.tolist(), classes(logits), margins, strict=True):
            detail: Json = {"runner_up": found.runner_up, "margin": None, "lipschitz": None, "seconds": seconds}
            detail["clean_prediction"] = clean
            if found.prediction is not None and found.runner_up is not None:
                detail["margin"] = _finite(z[found.prediction] - z[found.runner_up])
                detail["lipschitz"] = _finite(float(network.pairs(found.prediction)[found.runner_up]))
            radius = None if found.radius is None else converted(found.radius, method.norm, row.numel())
            if index in order.cross_check and found.prediction is not None and radius is not None:
                attack = partial(
                    attack_network,
                    module,
                    row,
                    prediction=found.prediction,
                    radius=radius,
                    norm=method.norm,
                    error=network.error.at,
                )
                detail["attack"] = attacked(row.numpy(), attack)
            work.emit(result(index, ys, found.prediction, radius, radius is None, detail))


def _batches(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
