"""The univariate cones of a graph: nodes that together are one function of every entry of one activation.

Exporters write an activation function as several nodes: GELU as Div, Erf, Add, Mul, Mul. Node by node that is a
product of two activations, which has no Lipschitz constant; seen from where its operands meet, it is a scalar function
``f``, and its constant is ``sup |f'|``. One rule serves for all the spellings, and for functions nobody has named.
Formulas: docs/numerics.md 2.9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from radii.graph.cone.expression import Step, is_scalar
from radii.graph.cone.search import Steepness, steepness
from radii.graph.ir import Graph, Node
from radii.graph.operator import Operator, Shape
from radii.graph.ops.elementwise import Mul, Sub
from radii.graph.rules import Rule, Slope, Unbounded

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 32  # of one cone
MOST_APEXES = 4  # how far back a function's variable is looked for
MOST_SEARCHES = 64  # different functions in one graph; real ones have a handful


@dataclass(frozen=True, eq=False)
class Cone(Operator):
    """A function of every entry: ``steps`` of scalar operators, run as they stand."""

    behaviour = "the largest |f'|, by interval search"
    steps: tuple[Step, ...]

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        values = [inputs[0]]
        for step in self.steps:
            constants = {name: inputs[0].new_tensor(array.tolist()) for name, array in step.operator.arrays().items()}
            values.append(step.operator.run([values[i] for i in step.inputs], constants))
        return values[-1]

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """Equal for cones that compute the same."""
        return tuple(step.key() for step in self.steps)

    @cached_property
    def steepness(self) -> Steepness | None:
        """Its Lipschitz constant; None: none was found."""
        return _steepness(_Keyed(self.key, self.steps))

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Bounds of its slopes; None: it jumps. With L the largest, ``L x - f(x)`` has the slopes ``L - f'(x)``."""
        found = self.steepness
        if found is None or not found.continuous:
            return None
        scaled = Step(Mul(np.array(found.upper)), (0,))
        last = len(self.steps)
        mirrored = (*self.steps, scaled, Step(Sub(), (last + 1, last)))
        key = tuple(step.key() for step in mirrored)
        other = _steepness(_Keyed(key, mirrored))
        lowest = -found.upper if other is None else math.nextafter(found.upper - other.upper, -math.inf)
        return max(lowest, -found.upper), found.upper

    def lipschitz(self, *inputs: Shape) -> Rule:
        found = self.steepness
        if found is None:
            return Unbounded("no bound of its slope was found", "Use smoothing")
        return Slope(found.upper, found.loss, self.interval)


class _Keyed:
    """Steps that compare equal where they compute the same."""

    def __init__(self, key: tuple[Any, ...], steps: tuple[Step, ...]) -> None:
        self.key, self.steps = key, steps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=256)
def _steepness(keyed: _Keyed) -> Steepness | None:
    return steepness(keyed.steps)


def with_cones(graph: Graph) -> Graph:
    """The same function, every cone with a finite constant as one node (`Cone`): what Lipschitz bounds are taken of."""
    made = {node.output: node for node in graph.nodes}
    order = {node.output: i for i, node in enumerate(graph.nodes)}
    nodes, searched = [], set()
    for node in graph.nodes:
        nodes.append(node)
        if not _wants_cone(graph, node):
            continue
        for apex, members in _cones(graph, node, made, order):
            cone = Cone(_steps(apex, members))
            searched.add(cone.key)
            if len(searched) > MOST_SEARCHES:
                break
            if cone.steepness is not None:
                nodes[-1] = Node(cone, (apex,), node.output, node.index, node.label)
                break
    return Graph.build(graph.input, graph.input_shape, graph.output, pruned(nodes, graph.output))


def pruned(nodes: Sequence[Node], output: str) -> list[Node]:
    """The nodes that ``output`` depends on."""
    needed, kept = {output}, []
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _wants_cone(graph: Graph, node: Node) -> bool:
    """Whether operands meet in it, or its own rule knows no bound."""
    if not _is_member(graph, node):
        return False
    return len(node.inputs) > 1 or isinstance(node.operator.lipschitz(*graph.input_shapes(node)), Unbounded)


def _is_member(graph: Graph, node: Node) -> bool:
    """Whether it acts on every entry alone, nothing being broadcast."""
    shape = graph.shapes[node.output]
    return is_scalar(node.operator) and all(given == shape for given in graph.input_shapes(node))


def _cones(
    graph: Graph, end: Node, made: Mapping[str, Node], order: Mapping[str, int]
) -> Iterator[tuple[str, list[Node]]]:
    """The cones that end in a node, the smallest first: each with its apex, the one activation that it reads."""
    members = {end.output: end}
    reads = set(end.inputs)
    found = 0
    while reads:
        if len(reads) == 1 and found < MOST_APEXES:
            found += 1
            yield next(iter(reads)), sorted(members.values(), key=lambda node: order[node.output])
        latest = max(reads, key=lambda name: order.get(name, -1))
        node = made.get(latest)
        if node is None or not _is_member(graph, node) or found == MOST_APEXES or len(members) == MOST_STEPS:
            return
        members[latest] = node
        reads.discard(latest)
        reads.update(node.inputs)


def _steps(apex: str, members: Sequence[Node]) -> tuple[Step, ...]:
    position = {apex: 0} | {node.output: i for i, node in enumerate(members, start=1)}
    return tuple(Step(node.operator, tuple(position[name] for name in node.inputs)) for node in members)
