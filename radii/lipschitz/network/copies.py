"""Entries of one activation, cut out and joined again: a single gather, which is linear and of known norm.

PyTorch's older exporter writes circular padding as two slices and a Concat for each axis; Focus layers and channel
shuffles are spelled so as well. Input by input a Concat costs the square root of the sum of the squares. Seen from the
one activation that all of it was cut from, it copies entries: its norm is the square root of how often the most copied
one occurs, exactly, and the layer behind it can be multiplied out with it. Formulas: docs/numerics.md 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from radii.graph import Graph, Node
from radii.graph.cone.find import pruned
from radii.graph.ops.layout import Reshape
from radii.graph.ops.select import Gather

MOST_NODES = 64  # of one gather
MOST_ENTRIES = 2**26  # of all activations that are looked at in a graph: half a second, at most 512 MiB of indices

Indices = npt.NDArray[np.int64]


def with_gathers(graph: Graph) -> Graph:
    """The same function, every Concat of entries of one activation as a Gather from that."""
    maker = {node.output: node for node in graph.nodes}
    order = {node.output: i for i, node in enumerate(graph.nodes)}
    nodes: list[Node] = []
    room = MOST_ENTRIES
    for node in graph.nodes:
        source, members = _copied(node, maker, order) if node.operator.copies and len(node.inputs) > 1 else ("", [])
        entries = sum(math.prod(graph.shapes[member.output]) for member in members)
        if members and entries <= room:
            room -= entries
            nodes += _gather(node, source, graph.shapes[source], _index(graph, source, members))
        else:
            nodes.append(node)
    return Graph.build(graph.input, graph.input_shape, graph.output, pruned(nodes, graph.output))


def _copied(end: Node, maker: Mapping[str, Node], order: Mapping[str, int]) -> tuple[str, list[Node]]:
    """The latest activation that all entries are copied from, and the nodes that copy them in order; none: no nodes."""
    members, reads = [end], set(end.inputs)
    while len(reads) > 1:
        latest = max(reads, key=lambda name: order.get(name, -1))
        node = maker[latest]
        if not node.operator.copies or len(members) == MOST_NODES:
            return "", []
        members.append(node)
        reads.discard(latest)
        reads.update(node.inputs)
    return next(iter(reads)), members[::-1]


def _index(graph: Graph, source: str, members: Sequence[Node]) -> Indices:
    """Where in the flattened source each entry of the last node's output comes from."""
    shape = graph.shapes[source]
    places = {source: torch.arange(math.prod(shape)).reshape(1, *shape)}
    for node in members:
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in node.operator.arrays().items()}
        places[node.output] = node.operator.run([places[name] for name in node.inputs], arrays)
    index: Indices = places[members[-1].output][0].numpy()
    return index


def _gather(node: Node, source: str, shape: tuple[int, ...], index: Indices) -> list[Node]:
    """The gather along one axis where that will do, else from the flattened source."""
    entries = np.arange(math.prod(shape)).reshape(shape)
    for axis in range(len(shape)) if index.ndim == len(shape) else ():
        line = np.moveaxis(index, axis, -1).reshape(-1, index.shape[axis])[0]
        along = np.unravel_index(line, shape)[axis].astype(np.int64)
        if np.array_equal(entries.take(along, axis), index):
            return [Node(Gather(along, axis), (source,), node.output, node.index, node.label)]
    flat = f"{node.output} flat"
    return [
        Node(Reshape((math.prod(shape),)), (source,), flat, node.index, node.label),
        Node(Gather(index, 0), (flat,), node.output, node.index, node.label),
    ]
