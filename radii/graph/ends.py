"""The end of a classifier that keeps the order of its classes, and the logits that stand before it."""

from collections.abc import Mapping
from math import prod

from radii.graph.cone.find import pruned
from radii.graph.ir import Graph, Node
from radii.graph.ops.layout import Reshape
from radii.graph.order import Given, Known, Ordered, Shared
from radii.graph.probabilities import with_logit
from radii.graph.rules import Unbounded

MOST_NODES = 64  # of an end; real ones have a dozen


def undecorated(graph: Graph) -> Graph:
    """The graph without the end that keeps the order of its classes: a softmax, also one spelled out, its logarithm, a
    sigmoid, a temperature, ... (:mod:`radii.graph.order`); and of ``(1 - p, p)``, where p is the sigmoid of one logit
    (:mod:`radii.graph.probabilities`); as it is, where there is none.

    It is the same classifier, at every input, in real arithmetic: the largest outputs of the two are of the same
    classes. Its outputs are the logits themselves, of which a Lipschitz bound certifies more: they do not saturate, and
    each pair of classes has a constant of its own. In floating point an end may make ties that the logits do not have.
    """
    return with_logit(_without_end(graph))


def _without_end(graph: Graph) -> Graph:
    made, count = _tail(graph), graph.num_classes
    position = {node.output: i for i, node in enumerate(graph.nodes)}
    sources = {name for node in made for name in node.inputs if prod(graph.shapes[name]) == count > 1}
    for source in sorted(sources, key=lambda name: position.get(name, -1)):  # as much as can be left out
        if _keeps_order(graph, made, source):
            return _ending_in(graph, source)
    return graph


def left_out(graph: Graph) -> tuple[Node, ...]:
    """The nodes that `undecorated` leaves out."""
    kept = {(node.index, node.operator) for node in undecorated(graph).nodes}
    return tuple(node for node in graph.nodes if (node.index, node.operator) not in kept)


def _tail(graph: Graph) -> list[Node]:
    """The last nodes of which each makes one number, or one a class, in the order in which they run."""
    maker = {node.output: i for i, node in enumerate(graph.nodes)}
    todo, found = [graph.output], set[int]()
    while todo and len(found) < MOST_NODES:
        name = todo.pop(0)
        if name in maker and maker[name] not in found and prod(graph.shapes[name]) in (1, graph.num_classes):
            found.add(maker[name])
            todo.extend(graph.nodes[maker[name]].inputs)
    return [graph.nodes[i] for i in sorted(found)]


def _keeps_order(graph: Graph, tail: list[Node], source: str) -> bool:
    """Whether what stands behind ``source`` keeps the order of its entries."""
    values: dict[str, Known] = {source: Ordered()}
    for node in tail:
        if node.output != source:
            known = [(_known(graph, values, name), graph.shapes[name], name) for name in node.inputs]
            given = [Given(value, shape, name) for value, shape, name in known if value is not None]
            made = node.operator.order(*given) if len(given) == len(known) > 0 else None
            if made is not None:
                values[node.output] = made
    end = values.get(graph.output)
    if not isinstance(end, Ordered) or not end.rising:
        return False
    outputs = {node.output for node in pruned(graph.nodes, source)} | set(values)
    # What else is left out (what a temperature is made of, say) must be defined everywhere.
    return not any(
        isinstance(node.operator.lipschitz(*graph.input_shapes(node)), Unbounded)
        for node in graph.nodes
        if node.output not in outputs
    )


def _known(graph: Graph, values: Mapping[str, Known], name: str) -> Known | None:
    """What is known of an activation. One number a sample is the same for all classes, whatever it is."""
    return values.get(name, Shared() if prod(graph.shapes[name]) == 1 else None)


def _ending_in(graph: Graph, source: str) -> Graph:
    """The graph up to ``source``, with an entry a class."""
    kept = pruned(graph.nodes, source)
    names = {node.output for node in kept}
    if all(node.operator.copies for node in graph.nodes if node.output not in names):
        return graph  # nothing is computed there
    if len(graph.shapes[source]) > 1:
        kept, source = [*kept, Node(Reshape((graph.num_classes,)), (source,), f"{source} flat", -1)], f"{source} flat"
    return Graph.build(graph.input, graph.input_shape, source, kept)
