"""Networks of two classes that end in a probability p of one logit z, which says the same and does not saturate."""

from collections.abc import Callable
from math import prod

import numpy as np

from radii.graph.cone.find import pruned
from radii.graph.ir import Graph, Node
from radii.graph.ops.layout import Reshape
from radii.graph.ops.linear import Linear

MOST_NODES = 64  # of an end; real ones have a dozen
MAGNITUDES = np.logspace(-3, 3, 25)


def with_logit(graph: Graph) -> Graph:
    """The graph with ``(0, z)`` for ``(1 - p, p)``, where p is a sigmoid of z, or ``(z, 0)`` for ``(p, 1 - p)``; as it
    is, where it ends otherwise.

    It is the same classifier at every input, ties and all, since p exceeds 1/2 where z exceeds 0.
    """
    end, sources = _behind(graph, lambda node: (node.operator.linear or node.operator.copies) and _is_simple(node))
    makers = {node.output: node for node in graph.nodes}
    if graph.num_classes != 2 or len(sources) != 1 or not end or sources[0] not in makers:
        return graph
    (name,) = sources
    if prod(graph.shapes[name]) != 1 or not makers[name].operator.is_probability:
        return graph
    said = _tried(Graph.build(name, graph.shapes[name], graph.output, end), np.array([0, 0.5, 1])).tolist()
    if said not in ([[1, 0], [0.5, 0.5], [0, 1]], [[0, 1], [0.5, 0.5], [1, 0]]):
        return graph
    (logit,) = makers[name].inputs
    pair = np.array([[0], [1]] if said[0] == [1, 0] else [[1], [0]], np.float32)
    kept = [
        *pruned(graph.nodes, logit),
        Node(Reshape((1,)), (logit,), f"{logit} alone", -1),
        Node(Linear(pair), (f"{logit} alone",), f"{logit} beside 0", -1),
    ]
    return Graph.build(graph.input, graph.input_shape, f"{logit} beside 0", kept)


def _is_simple(node: Node) -> bool:
    """Whether its constants are halves, of which few sums are rounded."""
    arrays = (array for array in node.operator.arrays().values() if array.dtype.kind == "f")
    return all(bool(np.all((np.abs(array) <= 2**10) & (2 * array == np.round(2 * array)))) for array in arrays)


def lies_between_0_and_1(graph: Graph) -> bool:
    """Whether the output, one number, lies there whatever number the last layer makes: as that of a sigmoid does, also
    one spelled out. Tried on many numbers, so it is no proof."""
    end, sources = _behind(graph, lambda node: _is_function(graph, node))
    if len(sources) != 1 or not end:
        return False
    outputs = _tried(
        Graph.build(sources[0], graph.shapes[sources[0]], graph.output, end), np.hstack([-MAGNITUDES, 0, MAGNITUDES])
    )
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def _is_function(graph: Graph, node: Node) -> bool:
    """Whether it makes one number of such, and is no layer."""
    shapes = graph.input_shapes(node)
    alone = all(prod(shape) == 1 for shape in (*shapes, graph.shapes[node.output]))
    return alone and not node.operator.multiply_adds(*shapes)


def _behind(graph: Graph, belongs: Callable[[Node], bool]) -> tuple[list[Node], list[str]]:
    """The last nodes, as far back as they belong, in the order in which they run; and what they are made of."""
    maker = {node.output: i for i, node in enumerate(graph.nodes)}
    todo, found, sources = [graph.output], set[int](), list[str]()
    while todo:
        name = todo.pop()
        if name in maker and len(found) < MOST_NODES and belongs(graph.nodes[maker[name]]):
            if maker[name] not in found:
                found.add(maker[name])
                todo.extend(graph.nodes[maker[name]].inputs)
        elif name not in sources:
            sources.append(name)
    return [graph.nodes[i] for i in sorted(found)], sources


def _tried(end: Graph, numbers: np.ndarray) -> np.ndarray:
    """What it makes of each, in float64."""
    import torch  # seconds, for few networks

    from radii.graph.module import to_module

    inputs = torch.from_numpy(numbers.astype(np.float64)).reshape(-1, *end.input_shape)
    with torch.inference_mode():
        made: np.ndarray = to_module(end, dtype=torch.float64)(inputs).reshape(len(numbers), -1).numpy()
    return made
