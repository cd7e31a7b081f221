"""Branches that leave one activation and meet again, as one function of it.

Bounded one by one they cost a sum, or the square root of the sum of the squares, as if each could be steepest where the
others are. Seen from the activation that they leave, the larger and the smaller of a pair are a rotation of it, ReLU of
u and of -u never rise together, and what is left of x without its mean is a projection. A node where branches meet is
replaced by one that reads where they part, if that has the smaller constant. Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from radii.graph import Graph, Node
from radii.graph.cone.find import pruned
from radii.graph.operator import Operator, Shape
from radii.graph.ops.conv import convolved
from radii.graph.ops.windows import Windows
from radii.graph.rules import Concat, Convolution, Dense, Rule, Slope
from radii.lipschitz.dense.matrix import matrix_norm
from radii.lipschitz.network.compose import compose
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.expansion import AFFINE, Decision, Expansion, handles
from radii.lipschitz.network.forms import Array, Forms, stacked
from radii.lipschitz.network.jacobians import largest_jacobian
from radii.lipschitz.network.kernels import summed
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.network.means import Means, applied
from radii.lipschitz.network.norms import Known, NoConstant, norm_of
from radii.lipschitz.rounding import Upper, certified_arithmetic, gamma, sum_up, up

MOST_NODES = 64  # between where branches part and where they meet
MOST_ENTRIES = 2**18  # of an activation whose forms are written out
ROOM = 2**22  # entries of all of them in one graph
SHOWS = 2.0**-37  # half of what `radii.lipschitz.network.explicit` allows a linear operator to lose
GAIN = 1e-9  # relative; less is not worth a node of its own


@dataclass(frozen=True, eq=False)
class Join(Operator):
    """A function of one activation that several nodes make together, with its Lipschitz constant."""

    behaviour = "the largest norm of the Jacobian of all of it"
    made: str
    output: Shape
    upper: Upper

    @property
    def name(self) -> str:
        """That of the node where its branches meet."""
        return self.made

    def shape(self, *inputs: Shape) -> Shape:
        return self.output

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(self.upper)


@dataclass(frozen=True, eq=False)
class LinearJoin(Join):
    """One that is linear, but for a constant: a matrix, or means."""

    linear: ClassVar[bool] = True
    map: Array | Means = field(default_factory=lambda: np.zeros((0, 0)))

    def run(self, inputs: Sequence[torch.Tensor], arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Without its constant."""
        (x,) = inputs
        if isinstance(self.map, Means):
            parts = [c * (x.mean([i + 1 for i in a], keepdim=True) if a else x) for a, c in self.map.factors.items()]
            return torch.stack([part.expand(x.shape) for part in parts]).sum(0)
        return (x.flatten(1) @ torch.from_numpy(np.array(self.map)).T).reshape(len(x), *self.output)

    def linear_part(self, x: Array) -> Array:
        if isinstance(self.map, Means):
            return self.map.of(x)
        return (x.reshape(len(x), -1) @ self.map.T).reshape(len(x), *self.output)


@dataclass(frozen=True, eq=False)
class SummedConvolution(Join):
    """One that is a convolution, but for a constant."""

    linear: ClassVar[bool] = True
    rule: Convolution = field(kw_only=True)

    def convolution(self, *inputs: Shape) -> Convolution:
        return self.rule

    def run(self, inputs: Sequence[torch.Tensor], arrays: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Without its constant."""
        (x,), rule = inputs, self.rule
        weight = torch.from_numpy(np.array(rule.weight))
        windows = Windows(rule.weight.shape[2:], rule.stride, rule.dilation, rule.padding)
        return convolved(x, weight, None, windows, rule.groups)


@certified_arithmetic()
def with_joins(graph: Graph, known: Known, rtol: float, effort: Effort) -> Graph:
    """The same function, nodes where branches of one activation meet as nodes that read that one, where that gains."""
    maker = {node.output: node for node in graph.nodes}
    order = {node.output: i for i, node in enumerate(graph.nodes)}
    nodes, room, found = [], ROOM, False
    for node in graph.nodes:
        nodes.append(node)
        convolution = _convolutions(graph, node, maker, order, known, rtol, effort)
        if convolution is not None:
            nodes[-1], found = convolution, True
            continue
        source, members = _between(graph, node, maker, order) if len(node.inputs) > 1 else ("", [])
        if not members:
            continue
        entries = max(math.prod(graph.shapes[name]) for name in (source, *(member.output for member in members)))
        try:
            made = _means(graph, source, members) or (
                _forms(graph, source, members, rtol) if entries <= min(room, MOST_ENTRIES) else None
            )
        except (NotApplicable, ArithmeticError, ValueError, RuntimeError, MemoryError):
            continue
        finally:
            room -= min(entries, room)
        if made is None:
            continue
        if made.upper < _apart(graph, source, members, known, rtol, effort) * (1 - GAIN):
            nodes[-1] = Node(made, (source,), node.output, node.index, node.label)
            found = True
    if not found:
        return graph
    return Graph.build(graph.input, graph.input_shape, graph.output, pruned(nodes, graph.output))


def _between(graph: Graph, end: Node, maker: Mapping[str, Node], order: Mapping[str, int]) -> tuple[str, list[Node]]:
    """The latest activation that all of a node is made of, and the nodes between in order; none: no nodes."""
    members, reads = [end], set(end.inputs)
    kinked, dense = not (_is_affine(end.operator) or _chooses(graph, end)), False
    if not handles(end.operator):
        return "", []
    while len(reads) > 1:
        latest = max(reads, key=lambda name: order.get(name, -1))
        node = maker[latest]
        is_dense = not handles(node.operator) and _has_weight(graph, node)
        kinked, dense = kinked or not (is_dense or _is_affine(node.operator)), dense or is_dense
        if not (is_dense or handles(node.operator)) or (kinked and dense) or len(members) == MOST_NODES:
            return "", []
        members.append(node)
        reads.discard(latest)
        reads.update(node.inputs)
    return next(iter(reads)), members[::-1]


def _is_affine(operator: Operator) -> bool:
    return operator.copies or isinstance(operator, AFFINE)


def _chooses(graph: Graph, node: Node) -> bool:
    """Whether each entry of what it makes moves no more than one of its inputs' entries, each of which is read once."""
    return isinstance(node.operator.lipschitz(*graph.input_shapes(node)), Concat)


def _has_weight(graph: Graph, node: Node) -> bool:
    return isinstance(node.operator.lipschitz(*graph.input_shapes(node)), Dense)


def _apart(graph: Graph, source: str, members: Sequence[Node], known: Known, rtol: float, effort: Effort) -> float:
    """The constant by the rules of the nodes alone."""
    found = {source: Upper(1.0)}
    for node in members:
        rule = node.operator.lipschitz(*graph.input_shapes(node))
        try:
            norm = norm_of(rule, rtol, known, effort, node.operator.name).upper
        except NoConstant:
            return math.inf
        found[node.output] = compose(rule, norm, [found[name] for name in node.inputs])
    return found[members[-1].output]


def _convolutions(
    graph: Graph,
    end: Node,
    maker: Mapping[str, Node],
    order: Mapping[str, int],
    known: Known,
    rtol: float,
    effort: Effort,
) -> Node | None:
    """By :mod:`radii.lipschitz.network.kernels`, if that gains anything."""
    name = f"node {end.index} ({end.operator.name})"
    for source, members, kernel in summed(graph, end, maker):
        shape, made = graph.shapes[source], graph.shapes[end.output]
        try:
            rule = kernel.rule(shape[1:], made[1:])
            norm, lost = norm_of(rule, rtol, known, effort, name), kernel.lost()
        except (NotApplicable, ArithmeticError, ValueError, RuntimeError, MemoryError):
            continue
        upper = sum_up((norm.upper, lost))
        members.sort(key=lambda node: order[node.output])
        if not upper < _apart(graph, source, members, known, rtol, effort) * (1 - GAIN):
            continue
        join: Join = Join(end.operator.name, made, upper)
        if kernel.is_plain() and lost <= SHOWS * norm.lower:
            join = SummedConvolution(end.operator.name, made, upper, rule=rule)
        return Node(join, (source,), end.output, end.index, end.label)
    return None


def _means(graph: Graph, source: str, members: Sequence[Node]) -> Join | None:
    """By :mod:`radii.lipschitz.network.means`."""
    shape = graph.shapes[source]
    values = {source: Means(shape, {frozenset(): 1.0})}
    try:
        for node in members:
            values[node.output] = applied(node.operator, [values[name] for name in node.inputs], shape)
    except NotApplicable:
        return None
    end, made = members[-1], values[members[-1].output]
    if made.shape != shape:
        return None
    upper = made.norm(shape)
    if gamma(math.prod(shape) + 16) * made.size > SHOWS * upper:
        return Join(end.operator.name, made.shape, upper)
    return LinearJoin(end.operator.name, made.shape, upper, made)


def _forms(graph: Graph, source: str, members: Sequence[Node], rtol: float) -> Join:
    """By :mod:`radii.lipschitz.network.expansion`. Raises `NotApplicable`."""
    shape = graph.shapes[source]
    expansion = Expansion(math.prod(shape))
    values: dict[str, Forms | Decision] = {source: expansion.source(shape)}
    end, dense = members[-1], any(_has_weight(graph, node) for node in members)
    for node in members:
        inputs = [values[name] for name in node.inputs]
        if dense and node is end and not _is_affine(end.operator):  # which chooses among them
            branches = stacked([value for value in inputs if isinstance(value, Forms)])
            return Join(end.operator.name, graph.shapes[end.output], _matrix(end, branches, expansion.size, rtol).upper)
        values[node.output] = expansion.apply(node.operator, inputs, graph.shapes[node.output])
    made = values[end.output]
    if not isinstance(made, Forms):
        raise NotApplicable("it is a decision")
    if dense:
        return _matrix(end, made, expansion.size, rtol)
    return Join(end.operator.name, made.shape, largest_jacobian(expansion, made))


def _matrix(end: Node, made: Forms, inputs: int, rtol: float) -> Join:
    """Of what is linear throughout: dense layers that part and meet. Raises `NotApplicable`."""
    outputs = len(made.constant)
    if outputs * inputs > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    matrix = np.zeros((outputs, inputs + 1))
    np.put_along_axis(matrix, np.minimum(made.columns, inputs), made.coefficients, axis=1)
    matrix = np.ascontiguousarray(matrix[:, :inputs])
    lost = up(float(np.linalg.norm(made.lost)) * (1 + gamma(made.lost.size + 16)))
    norm = matrix_norm(matrix, rtol=rtol)
    upper = sum_up((norm.upper, lost))
    size = up(float(np.linalg.norm(matrix)) * (1 + gamma(matrix.size + 16)))
    if lost + gamma(inputs + 8) * size > SHOWS * norm.lower:
        return Join(end.operator.name, made.shape, upper)
    return LinearJoin(end.operator.name, made.shape, upper, matrix)
