"""Exact rewrites of a graph that has just been read: fewer nodes, tighter bounds, the same function.

BatchNormalization goes into the layer before it (in float64, kept in float64), the two spellings of activations
that exporters write as several nodes become one node, and what the output does not need goes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from radii.graph.ir import Node, Shape
from radii.graph.ops.activation import Erf, ErfGate, Sigmoid, Silu
from radii.graph.ops.elementwise import Add, Div, Mul
from radii.graph.ops.normalization import BatchNormalization

Shapes = Mapping[str, Shape]


def simplify(nodes: Iterable[Node], output: str, shapes: Shapes) -> tuple[Node, ...]:
    """The nodes that ``output`` needs, simplified, in order."""
    kept = prune(nodes, output)
    for rewrite in (_recognise, _fold_batch_norm):
        kept = prune(_rewritten(kept, output, shapes, rewrite), output)
    return kept


def prune(nodes: Iterable[Node], output: str) -> tuple[Node, ...]:
    """The nodes that ``output`` depends on."""
    needed, kept = {output}, []
    for node in reversed(list(nodes)):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


Rewrite = Callable[[Node, Mapping[str, Node], Counter[str], Shapes], Node | None]


def _rewritten(nodes: tuple[Node, ...], output: str, shapes: Shapes, rewrite: Rewrite) -> list[Node]:
    uses = Counter(name for node in nodes for name in node.inputs)
    uses[output] += 1
    made: dict[str, Node] = {}
    for node in nodes:
        made[node.output] = rewrite(node, made, uses, shapes) or node
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
    return folded and Node(folded, before.inputs, node.output, before.index, before.label)


def _recognise(node: Node, made: Mapping[str, Node], uses: Counter[str], shapes: Shapes) -> Node | None:
    """``x * sigmoid(x)`` is SiLU; ``x * (1 + erf(c x))`` is a GELU, a factor aside."""
    if not isinstance(node.operator, Mul) or node.operator.constant is not None:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        gate = made.get(other)
        if gate is None:
            continue
        if isinstance(gate.operator, Sigmoid) and gate.inputs == (x,):
            return Node(Silu(), (x,), node.output, node.index, node.label)
        factor = _erf_factor(gate, x, made)
        if factor is not None:
            return Node(ErfGate(factor), (x,), node.output, node.index, node.label)
    return None


def _erf_factor(gate: Node, x: str, made: Mapping[str, Node]) -> float | None:
    """c > 0 where ``gate`` is ``1 + erf(c x)``."""
    if not isinstance(gate.operator, Add) or _scalar(gate) != 1:
        return None
    erf = made.get(gate.inputs[0])
    if erf is None or not isinstance(erf.operator, Erf):
        return None
    scaled = made.get(erf.inputs[0])
    if scaled is None or scaled.inputs != (x,):
        return None
    factor = _scalar(scaled)
    if factor is None or not factor > 0:
        return None
    if isinstance(scaled.operator, Mul):
        return factor
    if isinstance(scaled.operator, Div) and not scaled.operator.constant_first:
        return 1 / factor
    return None


def _scalar(node: Node) -> float | None:
    constant = getattr(node.operator, "constant", None)
    return float(constant.reshape(())) if constant is not None and constant.size == 1 else None
