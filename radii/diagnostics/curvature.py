"""How the loss bends in the weights and in the inputs: the report.

Everything here is a figure about the network at its own weights, on the data given: estimates from inside the spectrum,
with their errors. None of it bounds or certifies anything. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from radii.diagnostics.closed import LastLayer, input_lambda_max, last_layer
from radii.diagnostics.jacobian import MOST_CLASSES, jacobian
from radii.diagnostics.lanczos import Deflated, Estimate, Extreme, Krylov, lanczos
from radii.diagnostics.objective import Network, Objective
from radii.graph import Graph, to_module
from radii.graph.module import GraphModule
from radii.graph.rules import Dense

STEPS, PROBES = 40, 30  # Hessian products of the basis, and of the probes: together within 0.3 % of most traces
KINK_STEPS = (1e-2, 1e-3, 1e-4)  # relative to the length of the weights
INPUTS = 64  # whose own curvature is looked at

MODULE = "in evaluation: BatchNorm by its stored statistics, which are not differentiated; no dropout"
GRAPH = "as read from its file, in evaluation: BatchNorm by its stored statistics, multiplied into the layer before it"


@dataclass(frozen=True, slots=True)
class Layer:
    """The Hessian's diagonal block of some weights.

    Attributes:
        size: how many weights.
        norm: their Frobenius norm.
    """

    name: str
    size: int
    norm: float
    trace: Estimate
    lambda_max: Extreme | None


@dataclass(frozen=True, slots=True)
class ScaleFree:
    """Figures that stay the same when a layer is multiplied and the next one divided, which changes no answer of a
    ReLU network but the Hessian as much as one likes.

    Attributes:
        lambda_max: of ``diag|w| H diag|w|``.
        quadratic: ``w^T H w``.
        norms_times_traces: the sum over layers of ``|W_l|^2 tr H_l``.
    """

    lambda_max: Extreme
    quadratic: float
    norms_times_traces: Estimate


@dataclass(frozen=True, slots=True)
class Kink:
    """``(L(w + h v) + L(w - h v) - 2 L(w)) / (h^2 lmax)`` with v the top eigenvector: 1 where the loss is smooth at
    that scale; what ReLUs that switch on the way add is not in the Hessian."""

    step: float
    ratio: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """See the attributes' own classes.

    Attributes:
        network: which function was differentiated.
        products: Hessian-vector products that it took.
        frobenius_squared: the sum of the squared eigenvalues.
        density: values and weights, which add up to 1: the spectrum as one random start saw it.
        last_layer: in closed form, to hold beside the estimate of that layer; None: the network ends otherwise.
        inputs: (M,) the largest eigenvalue of the loss's Hessian in each of the first inputs
            (:func:`radii.diagnostics.closed.input_lambda_max`); None: more classes than are looked at.
    """

    network: str
    samples: int
    weights: int
    loss: float
    lambda_max: Extreme
    lambda_min: Extreme
    trace: Estimate
    frobenius_squared: Estimate
    density: tuple[Tensor, Tensor]
    layers: tuple[Layer, ...]
    scale_free: ScaleFree
    kinks: tuple[Kink, ...]
    last_layer: LastLayer | None
    inputs: Tensor | None
    products: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        values, weights = self.density
        return {
            "network": self.network,
            "samples": self.samples,
            "weights": self.weights,
            "loss": self.loss,
            "lambda_max": asdict(self.lambda_max),
            "lambda_min": asdict(self.lambda_min),
            "trace": _estimate(self.trace),
            "frobenius_squared": _estimate(self.frobenius_squared),
            "density": {"values": values.tolist(), "weights": weights.tolist()},
            "layers": [
                {
                    "name": layer.name,
                    "size": layer.size,
                    "norm": layer.norm,
                    "trace": _estimate(layer.trace),
                    "lambda_max": None if layer.lambda_max is None else asdict(layer.lambda_max),
                }
                for layer in self.layers
            ],
            "scale_free": {
                "lambda_max": asdict(self.scale_free.lambda_max),
                "quadratic": self.scale_free.quadratic,
                "norms_times_traces": _estimate(self.scale_free.norms_times_traces),
            },
            "kinks": [asdict(kink) for kink in self.kinks],
            "last_layer": None if self.last_layer is None else asdict(self.last_layer),
            "inputs": None if self.inputs is None else self.inputs.tolist(),
            "products": self.products,
        }


def curvature(
    network: Network,
    x: npt.ArrayLike | Tensor,
    y: npt.ArrayLike | Tensor | None,
    *,
    steps: int = STEPS,
    probes: int = PROBES,
    layer_steps: int = 0,
    seed: int = 0,
) -> Curvature:
    """The report, of inputs (N, *shape) with labels (N,): about ``2 steps + probes`` Hessian products.

    Args:
        steps: of Lanczos; as many as there are weights: every figure is exact but for rounding.
        probes: of what the basis leaves of the trace; at least 2 for an interval.
        layer_steps: of Lanczos for each layer's own largest eigenvalue; 0: none is looked for.
        seed: of the random starts.

    Raises:
        CannotDiagnose: see :mod:`radii.diagnostics.errors`.
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: shapes, ``steps`` or ``probes`` do not fit.
    """
    if steps < 2 or probes < 0 or layer_steps < 0:
        raise ValueError("steps must be 2 or more, probes and layer_steps 0 or more")
    objective = Objective(network, x, y)
    generator = torch.Generator().manual_seed(seed)
    krylov = lanczos(objective.product, objective.size, steps, generator)
    least, largest = krylov.extremes()
    slices = objective.slices
    deflated = Deflated(objective.product, krylov, list(slices.values()), probes, generator)
    norms = {name: float(objective.point[block].norm()) for name, block in slices.items()}
    return Curvature(
        network=GRAPH if isinstance(network, Graph) else MODULE,
        samples=len(objective.x),
        weights=objective.size,
        loss=objective.value,
        lambda_max=largest,
        lambda_min=least,
        trace=deflated.trace,
        frobenius_squared=deflated.frobenius_squared,
        density=krylov.density(),
        layers=tuple(
            Layer(
                objective.labels[name],
                block.stop - block.start,
                norms[name],
                deflated.block(place),
                _block_extreme(objective, block, layer_steps, generator) if layer_steps else None,
            )
            for place, (name, block) in enumerate(slices.items())
        ),
        scale_free=ScaleFree(
            lambda_max=_scaled(objective, steps, generator).extremes()[1],
            quadratic=float(objective.point @ objective.product(objective.point)),
            norms_times_traces=deflated.weighted([norms[name] ** 2 for name in slices]),
        ),
        kinks=_kinks(objective, krylov.top_vector(), largest.value),
        last_layer=_last_layer(objective),
        inputs=_inputs(objective),
        products=objective.products,
    )


def _estimate(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval
    interval = [low, high] if estimate.probes > 1 or estimate.error == 0 else None
    error = estimate.error if interval else None
    return {"value": estimate.value, "error": error, "interval": interval, "probes": estimate.probes}


def _block_extreme(objective: Objective, block: slice, steps: int, generator: torch.Generator) -> Extreme:
    def product(vector: Tensor) -> Tensor:
        whole = torch.zeros_like(objective.point)
        whole[block] = vector
        return objective.product(whole)[block]

    return lanczos(product, block.stop - block.start, steps, generator).extremes()[1]


def _scaled(objective: Objective, steps: int, generator: torch.Generator) -> Krylov:
    sizes = objective.point.abs()
    return lanczos(lambda vector: sizes * objective.product(sizes * vector), objective.size, steps, generator)


def _kinks(objective: Objective, vector: Tensor, curvature: float) -> tuple[Kink, ...]:
    length, here, kinks = float(objective.point.norm()), objective.loss(objective.point), []
    for relative in KINK_STEPS:
        step = relative * length
        around = sum(objective.loss(objective.point + sign * step * vector) for sign in (1, -1))
        scale = step**2 * curvature
        kinks.append(Kink(step, (around - 2 * here) / scale if scale > 0 else None))
    return tuple(kinks)


def _last_layer(objective: Objective) -> LastLayer | None:
    with torch.no_grad():
        features = _features(objective)
    return None if features is None else last_layer(objective.outputs, features)


def _features(objective: Objective) -> Tensor | None:
    """(N, d) what the dense layer reads that makes the logits; None: there is none."""
    module = objective.module
    if isinstance(module, GraphModule):
        return _graph_features(module.graph, objective.x)
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(part: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        seen[:] = [(given[0], made)]

    hooks = [part.register_forward_hook(keep) for part in module.modules() if isinstance(part, nn.Linear)]
    features = []
    try:
        for x in torch.split(objective.x, objective.batch_size):
            seen.clear()
            logits = objective.logits(objective.point, x)
            if not seen or seen[0][1] is not logits:
                return None
            features.append(seen[0][0])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(features)


def _graph_features(graph: Graph, x: Tensor) -> Tensor | None:
    last = next((node for node in graph.nodes if node.output == graph.output), None)
    if last is None or len(graph.shapes[last.inputs[0]]) != 1:
        return None
    if not isinstance(last.operator.lipschitz(*graph.input_shapes(last)), Dense):
        return None
    if last.inputs[0] == graph.input:
        return x
    before = Graph.build(graph.input, graph.input_shape, last.inputs[0], graph.nodes[: graph.nodes.index(last)])
    found: Tensor = to_module(before, dtype=torch.float64)(x)
    return found


def _inputs(objective: Objective) -> Tensor | None:
    if objective.outputs.shape[1] > MOST_CLASSES:
        return None
    logits: Callable[[Tensor], Tensor] = lambda x: objective.logits(objective.point, x)  # noqa: E731
    x = objective.x[:INPUTS]
    return input_lambda_max(objective.outputs[:INPUTS], jacobian(logits, x))
