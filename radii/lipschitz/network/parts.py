"""Branches that read different entries of one activation: halves, groups, towers, however deep.

What they make side by side moves by ``|y - y'|^2 = sum_i |f_i(x) - f_i(x')|^2 <= sum_i L_i^2 |x_i - x_i'|^2``, where
``x_i`` holds the entries that branch i depends on, so by ``max over entries of the sum of L_i^2 of the branches that
read it`` at most. Where each entry has one reader that is the largest constant, not the root of the sum of all squares;
and what is added costs that root, not the sum. Formulas: docs/numerics.md 3.11.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from radii.graph import Node
from radii.graph.rules import Concat, Rule, Sum
from radii.lipschitz.network.chain import Walk, interval
from radii.lipschitz.rounding import Upper, hypot_up, product_up

MOST_NODES = 256  # of all branches together
MOST_BRANCHES = 62  # the readers of an entry are the bits of one number
MOST_ENTRIES = 2**22  # of the activation that they read


@dataclass(frozen=True, slots=True)
class Parts:
    """Branches that part at ``source`` and meet in ``target``.

    Attributes:
        between: the positions of their nodes, the last one aside, in order.
        readers: which branches read an entry, for every kind of entry.
    """

    source: str
    target: str
    between: tuple[int, ...]
    readers: tuple[tuple[int, ...], ...]

    def compose(self, rule: Rule, branches: list[Upper]) -> Upper:
        """The constant of the target from those of the branches, all with respect to the source."""
        if isinstance(rule, Sum):
            terms = zip(rule.coefficients, branches, strict=True)
            return hypot_up(product_up((abs(c), bound)) for c, bound in terms)
        return max(hypot_up(branches[i] for i in readers) for readers in self.readers)


def all_parts(walk: Walk) -> dict[str, Parts]:
    """Where branches meet that read different entries of one activation, by target."""
    made, found = walk.made(), {}
    for node, rule in zip(walk.graph.nodes, walk.rules, strict=True):
        if isinstance(rule, Concat | Sum) and 1 < len(node.inputs) <= MOST_BRANCHES:
            parts = _parts(walk, node, made)
            whole = tuple(range(len(node.inputs)))
            if parts is None or whole in parts.readers:
                continue
            if isinstance(rule, Concat) or all(len(readers) < 2 for readers in parts.readers):
                found[node.output] = parts
    return found


def _parts(walk: Walk, end: Node, made: Mapping[str, int]) -> Parts | None:
    """The latest activation that all of a node is made of, and who reads what of it; None: it is too far away."""
    graph, reads, between = walk.graph, set(end.inputs), list[int]()
    while len(reads) > 1:
        latest = max(reads, key=lambda name: made.get(name, -1))
        if len(between) == MOST_NODES:
            return None
        between.append(made[latest])
        reads.discard(latest)
        reads.update(graph.nodes[made[latest]].inputs)
    (source,), between = reads, between[::-1]
    entries = math.prod(graph.shapes[source])
    if entries > MOST_ENTRIES:
        return None
    if not any(graph.nodes[i].operator.copies for i in between):
        return None
    places = {source: torch.arange(entries).reshape(1, *graph.shapes[source])}
    for i in between:
        node = graph.nodes[i]
        if not all(name in places for name in node.inputs):
            continue
        if interval(walk.rules[i]) is not None:
            places[node.output] = places[node.inputs[0]]
        elif node.operator.copies:
            arrays = {name: torch.from_numpy(np.array(array)) for name, array in node.operator.arrays().items()}
            places[node.output] = node.operator.run([places[name] for name in node.inputs], arrays)
    bits = np.zeros(entries, np.int64)
    for branch, name in enumerate(end.inputs):
        bits[_read(walk, name, places, made)] |= 1 << branch
    kinds = np.unique(bits).tolist()
    readers = tuple(tuple(i for i in range(len(end.inputs)) if kind >> i & 1) for kind in kinds)
    return Parts(source, end.output, tuple(between), readers)


def _read(walk: Walk, end: str, places: Mapping[str, torch.Tensor], made: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The entries of the source that an activation depends on, at most, given which one each entry is made of."""
    read, todo, seen = list[npt.NDArray[np.int64]](), [end], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in places:
            read.append(places[name].reshape(-1).numpy())
        else:
            todo.extend(walk.graph.nodes[made[name]].inputs)
    return np.unique(np.concatenate(read))
