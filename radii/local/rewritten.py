"""Nodes that local bounds see as several simpler ones. Formulas: docs/numerics.md 11.6."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from radii.graph import Graph, Node
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Abs, Exp, Log, Neg, Reciprocal, Sqrt
from radii.graph.ops.elementwise import Add, Div, Mul, Sub
from radii.graph.ops.groupnorm import GroupNormalization, InstanceNormalization, RMSNormalization
from radii.graph.ops.layout import Reshape
from radii.graph.ops.linear import Product
from radii.graph.ops.normalization import LayerNormalization, LogSoftmax, Softmax
from radii.graph.ops.parametric import Pow
from radii.graph.ops.reduce import ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMean, ReduceSum, ReduceSumSquare


@dataclass(eq=False)
class Pieces:
    """The nodes that take one node's place, as they are written."""

    node: Node
    shapes: dict[str, Shape]  # of every activation so far
    made: list[Node] = field(default_factory=list)

    def put(self, operator: Operator, *inputs: str) -> str:
        """One more node; the name of what it makes."""
        output = f"{self.node.output} {len(self.made)}"
        self.shapes[output] = operator.shape(*(self.shapes[name] for name in inputs))
        self.made.append(Node(operator, inputs, output, self.node.index, self.node.label))
        return output

    def shaped(self, shape: Shape, name: str) -> str:
        """The same entries in another shape."""
        return name if self.shapes[name] == shape else self.put(Reshape(shape), name)


def rewritten(graph: Graph) -> Graph:
    """The same function in real arithmetic."""
    nodes: list[Node] = []
    shapes, names = dict(graph.shapes), {name: name for name in graph.shapes}
    for node in graph.nodes:
        given = Node(node.operator, tuple(names[name] for name in node.inputs), node.output, node.index, node.label)
        write = next((write for kind, write in REWRITTEN if type(node.operator) is kind), None)
        if write is None or (isinstance(node.operator, Div) and node.operator.constant is not None):
            nodes.append(given)
            continue
        pieces = Pieces(given, shapes)
        names[node.output] = pieces.shaped(graph.shapes[node.output], write(node.operator, pieces, *given.inputs))
        nodes += pieces.made
    if len(nodes) == len(graph.nodes) and all(
        a.operator is b.operator for a, b in zip(nodes, graph.nodes, strict=True)
    ):
        return graph
    return Graph.build(graph.input, graph.input_shape, names[graph.output], nodes)


def _exponential_sums(operator: Softmax, pieces: Pieces, x: str) -> str:
    """``sum_j exp(x_j - x_i)``, of which softmax is the reciprocal: no product, and every difference bounded itself."""
    shape, axis = pieces.shapes[x], operator.axis
    if operator.trailing:
        shape = (*shape[:axis], prod(shape[axis:]))
    before, size, behind = shape[:axis], shape[axis], shape[axis + 1 :]
    rows, columns = (pieces.shaped((*before, *pair, *behind), x) for pair in ((1, size), (size, 1)))
    exponentials = pieces.put(Exp(), pieces.put(Sub(), rows, columns))
    return pieces.put(ReduceSum((axis + 1,), False), exponentials)


def _softmax(operator: Softmax, pieces: Pieces, x: str) -> str:
    return pieces.put(Reciprocal(), _exponential_sums(operator, pieces, x))


def _log_softmax(operator: LogSoftmax, pieces: Pieces, x: str) -> str:
    return pieces.put(Neg(), pieces.put(Log(), _exponential_sums(operator, pieces, x)))


def _divided(operator: Div, pieces: Pieces, x: str, divisor: str) -> str:
    return pieces.put(Mul(), x, pieces.put(Reciprocal(), divisor))


def _matrices(operator: Product, pieces: Pieces, a: str, b: str) -> str:
    rows, columns = pieces.shapes[a], pieces.shapes[b]
    products = pieces.put(Mul(), pieces.shaped((*rows, 1), a), pieces.shaped((*columns[:-2], 1, *columns[-2:]), b))
    return pieces.put(ReduceSum((len(rows) - 1,), False), products)


def _standardised(pieces: Pieces, x: str, axes: Iterable[int], epsilon: float, centred: bool = True) -> str:
    """``(x - mean) / sqrt(variance + epsilon)`` over axes."""
    mean = ReduceMean(tuple(axes), True)
    away = pieces.put(Sub(), x, pieces.put(mean, x)) if centred else x
    spread = pieces.put(Add(np.array(epsilon)), pieces.put(mean, pieces.put(Pow(2.0), away)))
    return pieces.put(Mul(), away, pieces.put(Pow(-0.5), spread))


def _layer_norm(operator: LayerNormalization, pieces: Pieces, x: str) -> str:
    made = _standardised(pieces, x, range(operator.axis, len(pieces.shapes[x])), operator.epsilon)
    made = pieces.put(Mul(operator.scale), made)
    return made if operator.bias is None else pieces.put(Add(operator.bias), made)


def _rms_norm(operator: RMSNormalization, pieces: Pieces, x: str) -> str:
    axes = range(operator.axis, len(pieces.shapes[x]))
    return pieces.put(Mul(operator.scale), _standardised(pieces, x, axes, operator.epsilon, centred=False))


def _group_norm(operator: GroupNormalization, pieces: Pieces, x: str) -> str:
    shape = pieces.shapes[x]
    made = _standardised(
        pieces, pieces.shaped((operator.groups, prod(shape) // operator.groups), x), (1,), operator.epsilon
    )
    column = (-1, *[1] * (len(shape) - 1))
    made = pieces.put(Mul(operator.scale.reshape(column)), pieces.shaped(shape, made))
    return pieces.put(Add(operator.bias.reshape(column)), made)


def _sum_of(*functions: Operator, after: Operator | None = None) -> Callable[..., str]:
    """A reduction that adds up a function of the entries, and perhaps a function of the sum."""

    def write(operator: ReduceL1, pieces: Pieces, x: str) -> str:
        for function in functions:
            x = pieces.put(function, x)
        x = pieces.put(ReduceSum(operator.axes, operator.keepdims), x)
        return x if after is None else pieces.put(after, x)

    return write


REWRITTEN: list[tuple[type[Operator], Callable[..., str]]] = [
    (Softmax, _softmax),
    (LogSoftmax, _log_softmax),
    (Div, _divided),
    (Product, _matrices),
    (LayerNormalization, _layer_norm),
    (RMSNormalization, _rms_norm),
    (GroupNormalization, _group_norm),
    (InstanceNormalization, _group_norm),
    (ReduceL1, _sum_of(Abs())),
    (ReduceL2, _sum_of(Pow(2.0), after=Sqrt())),
    (ReduceSumSquare, _sum_of(Pow(2.0))),
    (ReduceLogSumExp, _sum_of(Exp(), after=Log())),
]
