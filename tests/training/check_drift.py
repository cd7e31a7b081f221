"""``drift.json``: a small ReLU network all of whose batches are listed, and a pair of checkpoints."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from radii.diagnostics import Objective, drift, sgd_step
from radii.diagnostics.layers import layers_of
from radii.graph import Graph, Node
from radii.graph.ops.activation import Relu
from radii.graph.ops.linear import Linear
from tests.training.check_curvature import mlp, tensor

THIRD_ORDER = 0.7  # times eta^3: the prediction leaves that out


def differences(values: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    weights = [tensor(values[name]) for name in ("V1", "V2")]
    objective = Objective(mlp(weights), tensor(values["x"]), values["y"])
    samples = [list(objective.split(gradient).values()) for gradient in objective.sample_gradients()]
    for layer, expected in enumerate(values["per_sample_gradients"]):
        for i, gradient in enumerate(expected):
            yield from _entries(f"gradient {layer} of {i}", samples[i][layer], tensor(gradient))
    for name, expected in values.items():
        if name.startswith("at_eta_"):
            eta = float(name.removeprefix("at_eta_").replace("_", "."))
            yield from _at(objective, eta, values["batch"], expected, name)
    for row in values["table"]:
        yield from _row(objective, samples, weights, values["batch"], row)
    yield from _pair(weights, values["pair"])


def _at(
    objective: Objective, eta: float, batch: int, expected: dict[str, Any], name: str
) -> Iterator[tuple[str, float, float]]:
    layers = layers_of(objective)
    step = sgd_step(objective, eta=eta, batch_size=batch, layers=layers, batches=0)
    figures = {"mu": "mu", "kappa": "kappa", "lambda2": "lambda_squared", "second": "second", "gap": "gap"}
    for key, attribute in (figures | {"log_norms": "log_norm"}).items():
        for i, value in enumerate(expected[key]):
            yield f"{name} {key}[{i}]", getattr(step.layers[i], attribute), value
    for i, slope in enumerate(expected["J"]):
        yield from _entries(f"{name} J[{i}]", layers[i].top.slope, tensor(slope))
    assert step.mean is not None
    yield f"{name} lambda2_full", step.lambda_squared, expected["lambda2_full"]
    yield f"{name} mean_step", step.mean, expected["mean_step"]
    yield f"{name} var_step", step.variance, expected["var_step"]


def _row(
    objective: Objective, samples: list[list[Tensor]], weights: list[Tensor], batch: int, row: dict[str, float]
) -> Iterator[tuple[str, float, float]]:
    eta = row["eta"]
    step = sgd_step(objective, eta=eta, batch_size=batch, batches=0)
    changes = torch.tensor(
        [
            sum(
                _log_norm(weight - eta * sum(samples[i][layer] for i in chosen) / batch) - _log_norm(weight)
                for layer, weight in enumerate(weights)
            )
            for chosen in itertools.product(range(len(samples)), repeat=batch)
        ],
        dtype=torch.float64,
    )
    mean = float(changes.mean())
    assert step.mean is not None
    yield f"eta {eta} predicted_mean", step.mean, row["predicted_mean"]
    yield f"eta {eta} predicted_var", step.variance, row["predicted_var"]
    yield f"eta {eta} exact_mean", mean, row["exact_mean"]
    yield f"eta {eta} exact_var", float(changes.var(correction=0)), row["exact_var"]
    beyond = max(0.0, abs(mean - step.mean) - THIRD_ORDER * eta**3)
    yield f"eta {eta} mean: how far beyond {THIRD_ORDER} eta^3 the prediction is", beyond, 0.0


def _pair(before: list[Tensor], pair: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    after = [tensor(weight) for weight in pair["after"]]
    series = drift([("before", chain(before)), ("after", chain(after))])
    for checkpoint in series.checkpoints:
        for i, value in enumerate(pair[f"log_norms_{checkpoint.label}"]):
            layer = checkpoint.layers[i]
            outside = max(0.0, layer.lower - value, value - layer.upper)
            yield f"pair {checkpoint.label} norm {i}: how far outside of its bounds", outside, 0.0
            yield f"pair {checkpoint.label} norm {i}", layer.upper, value
    yield "pair delta_logK", series.increments[0].change, pair["delta_logK"]


def chain(weights: list[Tensor]) -> Graph:
    """Dense layers of these weights, without biases, ReLU between them."""
    nodes, name = [], "x"
    for i, weight in enumerate(weights):
        if i:
            nodes.append(Node(Relu(), (name,), f"a{i}", 2 * i - 1))
            name = f"a{i}"
        nodes.append(Node(Linear(weight.numpy().copy()), (name,), f"z{i}", 2 * i))
        name = f"z{i}"
    return Graph.build("x", (weights[0].shape[1],), name, nodes)


def _log_norm(matrix: Tensor) -> float:
    return math.log(float(torch.linalg.svdvals(matrix)[0]))


def _entries(name: str, found: Tensor, expected: Tensor) -> Iterator[tuple[str, float, float]]:
    for i, (one, two) in enumerate(zip(found.reshape(-1).tolist(), expected.reshape(-1).tolist(), strict=True)):
        yield f"{name} entry {i}", one, two
