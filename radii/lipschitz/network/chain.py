"""Runs of linear layers and elementwise activations: where a bound can look at several layers at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radii.graph import Graph
from radii.graph.rules import Rule, Slope
from radii.lipschitz.dense.matrix import NormBound
from radii.lipschitz.network.linear import Piece, is_linear

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """``pieces[0]``, an activation with slopes in ``slopes[0]``, ``pieces[1]``, ...: from one activation to another.

    There are as many pieces as slopes, or one more. The first piece has a node.
    """

    source: str
    target: str
    pieces: tuple[Piece, ...]
    slopes: tuple[Interval, ...]

    @property
    def nodes(self) -> frozenset[str]:
        """The outputs of all its nodes that weigh something."""
        return frozenset(node.output for piece in self.pieces for node in piece.nodes)


@dataclass(frozen=True, slots=True)
class Walk:
    """A graph with the rule and the norm of each node."""

    graph: Graph
    rules: Sequence[Rule]
    norms: Sequence[NormBound]

    def made(self) -> dict[str, int]:
        """The position of the node that makes each activation."""
        return {node.output: i for i, node in enumerate(self.graph.nodes)}

    def piece(self, source: str, positions: Sequence[int]) -> Piece:
        """The nodes at these positions."""
        return Piece(
            self.graph,
            source,
            tuple(self.graph.nodes[i] for i in positions),
            tuple(self.rules[i] for i in positions),
            tuple(self.norms[i] for i in positions),
        )


def interval(rule: Rule) -> Interval | None:
    """The slopes of an elementwise function; None: the rule is of something else."""
    return rule.interval if isinstance(rule, Slope) else None


def chains(walk: Walk) -> list[Chain]:
    """The longest ones: each ends where several nodes read, where another kind of node reads, or at the output."""
    made, uses = walk.made(), Counter(name for node in walk.graph.nodes for name in node.inputs)
    pairs = zip(walk.graph.nodes, walk.rules, strict=True)
    fits = [is_linear(node, rule) or interval(rule) is not None for node, rule in pairs]
    inner = {
        node.inputs[0] for node, fit in zip(walk.graph.nodes, fits, strict=True) if fit and uses[node.inputs[0]] == 1
    } - {walk.graph.output}
    found = []
    for i, node in enumerate(walk.graph.nodes):
        if fits[i] and node.output not in inner:
            chain = _ending(walk, made, uses, fits, i)
            if chain is not None:
                found.append(chain)
    return found


def _ending(
    walk: Walk, made: Mapping[str, int], uses: Mapping[str, int], fits: Sequence[bool], last: int
) -> Chain | None:
    positions = [last]
    while True:
        (name,) = walk.graph.nodes[positions[0]].inputs
        before = made.get(name)
        if before is None or not fits[before] or uses[name] > 1:
            break
        positions.insert(0, before)
    return chain_of(walk, positions)


def chain_of(walk: Walk, positions: Sequence[int]) -> Chain | None:
    """The chain of nodes in a row, from the first linear one on; None: there is none."""
    positions = list(positions)
    while positions and not is_linear(walk.graph.nodes[positions[0]], walk.rules[positions[0]]):
        positions.pop(0)
    if not positions:
        return None
    source = walk.graph.nodes[positions[0]].inputs[0]
    pieces: list[Piece] = []
    slopes: list[Interval] = []
    run: list[int] = []
    start = source
    for i in positions:
        node, rule = walk.graph.nodes[i], walk.rules[i]
        if is_linear(node, rule):
            run.append(i)
            continue
        here = interval(rule)
        assert here is not None
        if run:
            pieces.append(walk.piece(start, run))
            slopes.append(here)
            run = []
        else:
            slopes[-1] = _product(slopes[-1], here)
        start = node.output
    if run:
        pieces.append(walk.piece(start, run))
    return Chain(source, walk.graph.nodes[positions[-1]].output, tuple(pieces), tuple(slopes))


def _product(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends) - abs(min(ends)) * 2.0**-50, max(ends) + abs(max(ends)) * 2.0**-50
