"""Exact rewrites of a graph that has just been read: fewer nodes, tighter bounds, the same function.

BatchNormalization goes into the layer before it (in float64, kept in float64), the activations that exporters
spell out in several nodes become one node, and what the output does not need goes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf, isfinite

from radii.graph.ir import Graph, Node, Shape
from radii.graph.ops.activation import Erf, ErfGate, Sigmoid, Silu
from radii.graph.ops.elementwise import Add, Binary, Div, Mul
from radii.graph.ops.normalization import BatchNormalization


def simplify(graph: Graph) -> Graph:
    """The same function in fewer nodes."""
    for rewrite in (_recognise, _fold_batch_norm):
        nodes = _prune(_rewritten(_prune(graph.nodes, graph.output), graph, rewrite), graph.output)
        graph = Graph.build(graph.input, graph.input_shape, graph.output, nodes)
    return graph


def _prune(nodes: Iterable[Node], output: str) -> list[Node]:
    """The nodes that ``output`` depends on."""
    needed, kept = {output}, []
    for node in reversed(list(nodes)):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


Shapes = Mapping[str, Shape]
Rewrite = Callable[[Node, Mapping[str, Node], Counter[str], Shapes], Node | None]


def _rewritten(nodes: list[Node], graph: Graph, rewrite: Rewrite) -> list[Node]:
    uses = Counter(name for node in nodes for name in node.inputs)
    made: dict[str, Node] = {}
    for node in nodes:
        made[node.output] = rewrite(node, made, uses, graph.shapes) or node
    return list(made.values())


def _fold_batch_norm(node: Node, made: Mapping[str, Node], uses: Counter[str], shapes: Shapes) -> Node | None:
    norm = node.operator
    if not isinstance(norm, BatchNormalization):
        return None
    (source,) = node.inputs
    before = made.get(source)
    if before is None or uses[source] > 1:
        return None
    folded = before.operator.rescaled(norm.scale, norm.offset, shapes[node.output])
    if folded is None:
        return None
    return Node(folded, before.inputs, node.output, before.index, before.label)


def _recognise(node: Node, made: Mapping[str, Node], uses: Counter[str], shapes: Shapes) -> Node | None:
    """``x * sigmoid(c x)`` is a SiLU and ``x * (1 + erf(c x))`` a GELU, factors aside."""
    if not isinstance(node.operator, Mul) or node.operator.constant is not None:
        return None
    for operand, other in (node.inputs, node.inputs[::-1]):
        x, gain = _multiple(operand, made)
        opening, share = _multiple(other, made)
        gate, gated = _gate(opening, made)
        if gate is None:
            continue
        source, factor = _multiple(gated, made)
        gain *= share
        if source == x and 0 < factor < inf and isfinite(gain):
            return Node(gate(factor, gain), (x,), node.output, node.index, node.label)
    return None


def _gate(name: str, made: Mapping[str, Node]) -> tuple[type[Silu] | type[ErfGate] | None, str]:
    """Which gate makes a value, and of what: ``sigmoid(u)`` or ``1 + erf(u)``."""
    node = made.get(name)
    if node is None:
        return None, ""
    if isinstance(node.operator, Sigmoid):
        return Silu, node.inputs[0]
    if isinstance(node.operator, Add) and _scalar(node) == 1:
        erf = made.get(node.inputs[0])
        if erf is not None and isinstance(erf.operator, Erf):
            return ErfGate, erf.inputs[0]
    return None, ""


def _multiple(name: str, made: Mapping[str, Node]) -> tuple[str, float]:
    """A value as a constant times another: (the other, the constant)."""
    node = made.get(name)
    factor = None if node is None else _scalar(node)
    if node is None or factor is None:
        return name, 1.0
    if isinstance(node.operator, Mul):
        return node.inputs[0], factor
    if isinstance(node.operator, Div) and not node.operator.constant_first:
        return node.inputs[0], 1 / factor
    return name, 1.0


def _scalar(node: Node) -> float | None:
    constant = node.operator.constant if isinstance(node.operator, Binary) else None
    return float(constant.reshape(())) if constant is not None and constant.size == 1 else None
