"""Linear pieces of a network: nodes in a row that together are one linear map, but for a constant.

A bound that looks at several layers at once (:mod:`radii.lipschitz.network.eclipse`) needs the layers themselves, not
only their norms: as explicit matrices (:mod:`radii.lipschitz.network.explicit`), or as blocks of a circular operator
that holds them (:mod:`radii.lipschitz.network.fourier`). What a piece cannot be written as, it says
(:class:`NotApplicable`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node
from radii.graph.rules import Convolution, Dense, Rule, Slope, Sum
from radii.lipschitz.dense.matrix import NormBound
from radii.lipschitz.rounding import as_float64, product_up

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]


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
    return node.operator.linear and (isinstance(rule, Sum) or (isinstance(rule, Slope) and rule.loss == 0))


def per_channel(graph: Graph, node: Node) -> Array | None:
    """The factor of each channel, where that is all a node does."""
    shape = graph.shapes[node.output]
    factors = node.operator.factors(shape) if graph.shapes[node.inputs[0]] == shape else None
    return None if factors is None else as_float64(factors)


def run(node: Node, basis: Array) -> Array:
    """What a linear node makes of inputs (B, *shape), without its constant."""
    made = node.operator.linear_part(basis)
    return _run(node, basis) if made is None else made


def transposed(node: Node, rows: Array, graph: Graph) -> Array:
    """What the transpose of a linear node makes of (B, *output shape): (B, *input shape), by torch's derivative."""
    import torch

    with torch.enable_grad():
        x = torch.zeros((len(rows), *graph.shapes[node.inputs[0]]), dtype=torch.float64, requires_grad=True)
        made = node.operator.run([x], _arrays(node))
        (gradient,) = torch.autograd.grad(made, x, torch.from_numpy(np.ascontiguousarray(rows)))
    result: Array = gradient.numpy()
    return result


def _run(node: Node, basis: Array) -> Array:
    """The image of inputs, by the operator itself, which takes torch."""
    import torch

    arrays = _arrays(node)
    x = torch.from_numpy(np.array(basis))
    made = node.operator.run([x], arrays) - node.operator.run([torch.zeros_like(x[:1])], arrays)
    result: Array = made.numpy()
    return result


def _arrays(node: Node) -> dict[str, torch.Tensor]:
    """The constants as tensors, what it adds being 0."""
    import torch

    arrays = {}
    for name, array in node.operator.arrays().items():
        values = torch.from_numpy(np.array(array, dtype=np.float64 if array.dtype.kind == "f" else array.dtype))
        arrays[name] = torch.zeros_like(values) if name == node.operator.adds else values
    return arrays
