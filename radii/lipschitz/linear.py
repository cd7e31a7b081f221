"""Linear pieces of a network: nodes in a row that together are one linear map, but for a constant.

A bound that looks at several layers at once (:mod:`radii.lipschitz.eclipse`) needs the layers themselves, not only
their norms: as explicit matrices (:mod:`radii.lipschitz.explicit`), or as blocks of a circular operator that holds them
(:mod:`radii.lipschitz.fourier`). What a piece cannot be written as, it says (:class:`NotApplicable`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node
from radii.graph.rules import Convolution, Dense, Rule, Slope
from radii.lipschitz.matrix import NormBound
from radii.lipschitz.rounding import as_float64, product_up

Array = npt.NDArray[np.float64]

SHUFFLES = frozenset({"Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})  # the order is kept
COPIES = SHUFFLES | {
    *("Cast", "DepthToSpace", "Expand", "Gather", "Neg", "Pad", "Slice", "SpaceToDepth", "Tile", "Transpose"),
}
WITH_CONSTANT = frozenset({"Add", "Sub", "Sum", "Mul", "Div"})
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"})
SCALES = frozenset({"Mul", "Div", "BatchNormalization", "Neg"})
OFFSETS = frozenset({"bias", "offset"})


class NotApplicable(Exception):
    """Why a sharper rule cannot treat a piece of the network; the product of norms still can."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some nodes in a row that together are linear, but for a constant."""

    graph: Graph
    source: str
    nodes: tuple[Node, ...]
    rules: tuple[Rule, ...]
    norms: tuple[NormBound, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.graph.shapes[self.source]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.graph.shapes[self.nodes[-1].output] if self.nodes else self.input_shape

    @property
    def upper(self) -> float:
        """The product of the nodes' norms."""
        return product_up(norm.upper for norm in self.norms)

    def part(self, start: int, stop: int | None = None) -> Piece:
        """The nodes from ``start`` to ``stop``."""
        source = self.nodes[start - 1].output if start else self.source
        return Piece(self.graph, source, self.nodes[start:stop], self.rules[start:stop], self.norms[start:stop])


def is_linear(node: Node, rule: Rule) -> bool:
    """Whether a node is linear but for a constant, in its one input."""
    if len(node.inputs) != 1:
        return False
    if isinstance(rule, Dense | Convolution):
        return True
    name, operator = node.operator.name, node.operator
    if name in WITH_CONSTANT:
        return not (name == "Div" and getattr(operator, "constant_first", False)) and _finite(rule)
    return name in COPIES | AVERAGES | SCALES and isinstance(rule, Slope) and rule.loss == 0


def _finite(rule: Rule) -> bool:
    return not isinstance(rule, Slope) or math.isfinite(rule.upper)


def per_channel(graph: Graph, node: Node) -> Array | None:
    """The factor of each channel, where that is all a node does."""
    shape, name = graph.shapes[node.output], node.operator.name
    if graph.shapes[node.inputs[0]] != shape:
        return None
    if name in ("Identity", "Dropout"):
        return np.ones(shape[0])
    if name in ("Add", "Sub", "Sum", "Neg"):
        turned = name == "Neg" or (name == "Sub" and getattr(node.operator, "constant_first", False))
        return np.full(shape[0], -1.0 if turned else 1.0)
    if name == "BatchNormalization":
        return as_float64(node.operator.arrays()["scale"])
    if name not in ("Mul", "Div"):
        return None
    constant = as_float64(node.operator.arrays()["constant"])
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if any(size != 1 for size in sizes[1:]):
        return None
    factor = np.broadcast_to(constant.reshape(-1), shape[:1])
    return 1 / factor if name == "Div" else factor.copy()


def run(node: Node, basis: Array) -> Array:
    """What a linear node makes of inputs (B, *shape), without its constant."""
    name, shape = node.operator.name, basis.shape[1:]
    if name in SHUFFLES:
        return basis.reshape(len(basis), *node.operator.shape(shape))
    if name == "GlobalAveragePool":
        mean: Array = basis.mean(axis=tuple(range(2, basis.ndim)), keepdims=True)
        return mean
    return _run(node, basis)


def _run(node: Node, basis: Array) -> Array:
    """By the operator itself, which takes torch."""
    import torch

    arrays = {}
    for name, array in node.operator.arrays().items():
        values = torch.from_numpy(np.array(array, dtype=np.float64 if array.dtype.kind == "f" else array.dtype))
        additive = name in OFFSETS or (name == "constant" and node.operator.name in ("Add", "Sub", "Sum"))
        arrays[name] = torch.zeros_like(values) if additive else values
    x = torch.from_numpy(np.array(basis))
    made = node.operator.run([x], arrays) - node.operator.run([torch.zeros_like(x[:1])], arrays)
    result: Array = made.numpy()
    return result
