"""A choice by a comparison of what is chosen from is the larger or the smaller of the two, and does not jump.

``Where(a > b, a, b)`` is ``Max(a, b)``, at ties and in floating point too. Formulas: docs/numerics.md 3.10.
"""

from collections.abc import Mapping

from radii.graph import Graph, Node
from radii.graph.cone.find import pruned
from radii.graph.ops.elementwise import Max, Min, Sub
from radii.graph.ops.threshold import Comparison, Not, Where


def with_extremes(graph: Graph) -> Graph:
    """The same function, every such choice as a Max or a Min."""
    maker = {node.output: node for node in graph.nodes}
    nodes = [_extreme(graph, node, maker) for node in graph.nodes]
    if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
        return graph
    return Graph.build(graph.input, graph.input_shape, graph.output, pruned(nodes, graph.output))


def _extreme(graph: Graph, node: Node, maker: Mapping[str, Node]) -> Node:
    if not isinstance(node.operator, Where) or len(node.inputs) != 3:
        return node
    condition, yes, no = node.inputs
    compared = _compared(maker.get(condition), maker)
    if compared is None or {yes, no} != set(compared) or graph.shapes[yes] != graph.shapes[no]:
        return node
    operator = Max() if yes == compared[0] else Min()
    return Node(operator, (yes, no), node.output, node.index, node.label)


def _compared(node: Node | None, maker: Mapping[str, Node]) -> tuple[str, str] | None:
    """The activations of which the first is the larger one where this comparison holds; None: it compares others."""
    if node is not None and isinstance(node.operator, Not):
        inner = _compared(maker.get(node.inputs[0]), maker)
        return inner[::-1] if inner else None
    if node is None or not isinstance(node.operator, Comparison):
        return None
    if len(node.inputs) == 2:
        first, second = node.inputs
    else:  # their difference with 0
        constant, difference = node.operator.constant, maker.get(node.inputs[0])
        is_difference = difference is not None and isinstance(difference.operator, Sub) and len(difference.inputs) == 2
        if constant is None or constant.any() or difference is None or not is_difference:
            return None
        first, second = difference.inputs
        if node.operator.constant_first:
            first, second = second, first
    match node.operator.name:
        case "Greater" | "GreaterOrEqual":
            return first, second
        case "Less" | "LessOrEqual":
            return second, first
    return None
