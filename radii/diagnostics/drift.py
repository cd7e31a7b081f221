"""A training run seen from its checkpoints: ``log K = sum_l log |W_l|`` and what each layer has of it.

Each norm is a pair of proved bounds (docs/numerics.md 2.2 and 2.3), and so is log K: facts about the checkpoints. What
moved them is not to be seen in weights alone; with the data and SGD's settings :mod:`radii.diagnostics.step` says what
one step does. Nothing here is a forecast. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from radii.diagnostics.errors import ConstantNetwork, DifferentArchitectures, NoWeights
from radii.diagnostics.objective import Objective, checked_labels
from radii.diagnostics.step import BATCHES, Step, sgd_step
from radii.graph import Graph, undecorated
from radii.graph.rules import Convolution, Dense, Matrices, Rule, Slope
from radii.lipschitz import UnboundedModel, certified_accuracy, margin_radius, network_bound
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.norms import norm_of

RTOL = 1e-12  # of a norm, where its layer allows: below what a step of training moves


@dataclass(frozen=True, slots=True)
class Sgd:
    """Plain SGD: ``W - eta g`` with the mean gradient of a batch, drawn with replacement."""

    eta: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class LogNorm:
    """``log |W_l|`` between bounds, rounding included."""

    name: str
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of one checkpoint.

    Attributes:
        layers: those whose weights are in K; the same ones, in one order, at each checkpoint.
        lower, upper: of log K.
        lipschitz: the proved Lipschitz constant of the logits; None: the network has none.
        certified_accuracy: by l2 radius, of the data given, by that constant.
        step: what a step of SGD from here does; None: no data or no SGD given.
    """

    label: str
    layers: tuple[LogNorm, ...]
    lower: float
    upper: float
    lipschitz: float | None
    accuracy: float | None
    certified_accuracy: dict[float, float] | None
    step: Step | None


@dataclass(frozen=True, slots=True)
class Increment:
    """From one checkpoint to the next.

    Attributes:
        label: of the later one.
        change: of log K, by the bounds from above.
        layers: each layer's part of it.
        shares: the parts over the whole; None where that is within doubt.
        doubt: how far ``change`` may be from the true one.
    """

    label: str
    change: float
    layers: tuple[float, ...]
    shares: tuple[float, ...] | None
    doubt: float


@dataclass(frozen=True, slots=True)
class Drift:
    """See `Checkpoint` and `Increment`."""

    checkpoints: tuple[Checkpoint, ...]
    increments: tuple[Increment, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        made = asdict(self)
        for checkpoint in made["checkpoints"]:
            curve = checkpoint["certified_accuracy"]
            if curve is not None:
                checkpoint["certified_accuracy"] = [{"radius": r, "accuracy": a} for r, a in curve.items()]
        return made


def drift(
    checkpoints: Sequence[tuple[str, Graph]],
    x: npt.ArrayLike | Tensor | None = None,
    y: npt.ArrayLike | Tensor | None = None,
    *,
    radii: Sequence[float] = (0.1, 0.25, 0.5),
    sgd: Sgd | None = None,
    batches: int = BATCHES,
    seed: int = 0,
) -> Drift:
    """The series, of checkpoints of one training run in its order, each with a label.

    Args:
        x, y: with them each checkpoint's accuracy, and its certified accuracy at these ``radii``, are there too.
        sgd: with it and data, what one of its steps does (:func:`radii.diagnostics.step.sgd_step`).

    Raises:
        CannotDiagnose: see :mod:`radii.diagnostics.errors`.
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: there are no checkpoints, or SGD without data.
    """
    if not checkpoints:
        raise ValueError("there are no checkpoints")
    if sgd is not None and x is None:
        raise ValueError("what a step of SGD does depends on the data: give x and y")
    logits = [(label, undecorated(graph)) for label, graph in checkpoints]
    for label, graph in logits[1:]:
        _check_same(logits[0], (label, graph))
    found = tuple(_checkpoint(label, graph, x, y, radii, sgd, batches, seed) for label, graph in logits)
    return Drift(found, tuple(_increment(*pair) for pair in pairwise(found)))


def log_norms(graph: Graph) -> tuple[LogNorm, ...]:
    """Of every dense layer and convolution of a graph, and of what else it multiplies channels by.

    Raises `ConstantNetwork` where one is zero, `NoWeights` where there is none, `NonFiniteWeights`.
    """
    found = []
    for node in graph.nodes:
        rule = node.operator.lipschitz(*graph.input_shapes(node))
        if node.index < 0 or not _is_layer(rule, node.operator.factors(graph.shapes[node.output]) is not None):
            continue
        name = f"{node.index} {node.operator.name}"
        norm = norm_of(rule, RTOL, {}, Effort(), name)
        if not norm.upper > 0:
            raise ConstantNetwork(f"the weights of node {name} are zero, so the logarithm of their norm is not finite")
        lower = norm.upper if isinstance(rule, Slope) else norm.lower
        found.append(LogNorm(name, _log(lower, -math.inf), _log(norm.upper, math.inf)))
    if not found:
        raise NoWeights("the network has no layer with weights")
    return tuple(found)


def _is_layer(rule: Rule, multiplies: bool) -> bool:
    return isinstance(rule, Dense | Matrices | Convolution) or (isinstance(rule, Slope) and multiplies)


def _log(value: float, towards: float) -> float:
    """The logarithm, rounded that way; the library's errs by an ulp at most."""
    return math.nextafter(math.nextafter(math.log(value), towards), towards) if value > 0 else -math.inf


def _checkpoint(
    label: str,
    graph: Graph,
    x: npt.ArrayLike | Tensor | None,
    y: npt.ArrayLike | Tensor | None,
    radii: Sequence[float],
    sgd: Sgd | None,
    batches: int,
    seed: int,
) -> Checkpoint:
    layers = log_norms(graph)
    try:
        bound = network_bound(graph)
    except UnboundedModel:
        bound = None
    accuracy, certified, step = None, None, None
    if x is not None:
        inputs = torch.as_tensor(x).cpu().double()
        objective = Objective(graph, inputs, y)
        labels = checked_labels(y, len(inputs), graph.num_classes)
        accuracy = float((objective.outputs.argmax(1) == labels).double().mean())
        if bound is not None:
            margins = margin_radius(bound.logits(inputs), bound, norms=inputs.flatten(1).norm(dim=1))
            certified = {float(radius): certified_accuracy(margins, labels.numpy(), radius) for radius in radii}
        if sgd is not None:
            step = sgd_step(objective, eta=sgd.eta, batch_size=sgd.batch_size, batches=batches, seed=seed)
    return Checkpoint(
        label=label,
        layers=layers,
        lower=_sum((layer.lower for layer in layers), -math.inf),
        upper=_sum((layer.upper for layer in layers), math.inf),
        lipschitz=None if bound is None else float(bound.upper),
        accuracy=accuracy,
        certified_accuracy=certified,
        step=step,
    )


def _sum(values: Any, towards: float) -> float:
    return math.nextafter(math.fsum(values), towards)


def _increment(before: Checkpoint, after: Checkpoint) -> Increment:
    layers = tuple(b.upper - a.upper for a, b in zip(before.layers, after.layers, strict=True))
    change = after.upper - before.upper
    doubt = (before.upper - before.lower) + (after.upper - after.lower)
    shares = tuple(layer / change for layer in layers) if abs(change) > doubt else None
    return Increment(after.label, change, layers, shares, doubt)


def _check_same(first: tuple[str, Graph], other: tuple[str, Graph]) -> None:
    """Raises `DifferentArchitectures`: same operators, wiring, settings and shapes of weights."""
    for place, (one, two) in enumerate(zip(_form(first[1]), _form(other[1]), strict=False)):
        if one != two:
            raise DifferentArchitectures(
                f"checkpoint {other[0]} differs from {first[0]} at node {place}: {two} for {one}"
            )
    if len(first[1].nodes) != len(other[1].nodes) or first[1].input_shape != other[1].input_shape:
        raise DifferentArchitectures(f"checkpoint {other[0]} has other nodes or inputs than {first[0]}")


def _form(graph: Graph) -> list[str]:
    """What a node is, without its weights."""
    position = {graph.input: 0} | {node.output: i for i, node in enumerate(graph.nodes, start=1)}
    return [
        f"{node.operator.name} of {[position[name] for name in node.inputs]}, {node.operator.settings()}, weights "
        f"{[list(array.shape) for array in node.operator.arrays().values()]}"
        for node in graph.nodes
    ]
