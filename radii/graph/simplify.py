"""Exact rewrites of a graph that has just been read: fewer nodes, tighter bounds, the same function.

BatchNormalization and added biases go into the layer before them (in float64, kept in float64), and what the output
does not need goes.
"""

from collections import Counter
from collections.abc import Mapping

from radii.graph.cone.find import pruned
from radii.graph.ir import Graph, Node


def simplify(graph: Graph) -> Graph:
    """The same function in fewer nodes."""
    nodes = pruned(graph.nodes, graph.output)
    uses = Counter(name for node in nodes for name in node.inputs)
    made: dict[str, Node] = {}
    for node in nodes:
        made[node.output] = _fold(node, made, uses, graph) or node
    return Graph.build(graph.input, graph.input_shape, graph.output, pruned(list(made.values()), graph.output))


def _fold(node: Node, made: Mapping[str, Node], uses: Counter[str], graph: Graph) -> Node | None:
    """The layer before a node together with it, where it only scales and shifts channels."""
    affine = node.operator.absorbable(graph.shapes[node.output])
    if affine is None or len(node.inputs) != 1:
        return None
    (source,) = node.inputs
    before = made.get(source)
    if before is None or uses[source] > 1 or graph.shapes[source] != graph.shapes[node.output]:
        return None
    folded = before.operator.rescaled(*affine, graph.shapes[node.output])
    if folded is None:
        return None
    return Node(folded, before.inputs, node.output, before.index, before.label)
