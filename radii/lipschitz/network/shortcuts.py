"""Rules that look at several nodes at once: each gives a constant from one activation to a later one.
Formulas: docs/numerics.md 3.1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from radii.graph import Node
from radii.graph.rules import Convolution, Dense, Rule, Sum
from radii.lipschitz.blocks import is_complex
from radii.lipschitz.dense.matrix import gram_work, matrix_norm
from radii.lipschitz.network.chain import Chain, Walk, chain_of, chains, interval
from radii.lipschitz.network.combettes import averaged
from radii.lipschitz.network.compose import compose
from radii.lipschitz.network.eclipse import certified
from radii.lipschitz.network.effort import Effort, billions
from radii.lipschitz.network.explicit import explicit
from radii.lipschitz.network.folded import folded_norm
from radii.lipschitz.network.layers import Layer, layers_of
from radii.lipschitz.network.linear import NotApplicable, Piece, is_linear
from radii.lipschitz.network.pairs import distances
from radii.lipschitz.network.parts import Parts
from radii.lipschitz.network.residual import residual_bound
from radii.lipschitz.rounding import Upper, certified_arithmetic, product_up, sum_up
from radii.lipschitz.work import TooMuchWork

LONGEST_BRANCH = 16  # nodes of a residual branch

Pairs = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """``target`` moves by at most ``upper`` times what ``source`` does."""

    source: str
    target: str
    upper: Upper
    rule: str
    replaces: frozenset[str] = frozenset()  # the outputs of the nodes that it speaks of
    pairs: Pairs | None = field(default=None, compare=False)


@dataclass(slots=True)
class Search:
    """All shortcuts of a graph, and why there are not more of them."""

    walk: Walk
    rtol: float
    pairs_wanted: bool
    effort: Effort
    notes: list[str] = field(default_factory=list)

    def attempt(self, rule: str, target: str, find: Callable[[], Shortcut]) -> list[Shortcut]:
        """At most one shortcut. Whatever goes wrong in a sharper rule, the product of norms still holds."""
        node = self.walk.graph.nodes[self.walk.made()[target]]
        where = f"{rule}, up to node {node.index} ({node.operator.name})"
        self.effort.tell(where)
        try:
            with certified_arithmetic():
                found = find()
        except NotApplicable as problem:
            reason = str(problem)
        except TooMuchWork as problem:
            enough = self.effort.enough(problem.work)
            reason = f"it takes {billions(problem.work)} multiply-adds; a budget of {enough:,} has them"
        except (ArithmeticError, ValueError, RuntimeError, MemoryError):  # of LAPACK, too
            reason = "its arithmetic failed"
        else:
            if 0 <= found.upper < float("inf"):
                return [found]
            reason = "its bound overflows"
        self.notes.append(f"{where}: {reason}")
        return []

    def local(self) -> list[Shortcut]:
        """Linear nodes in a row, and residual blocks."""
        found = []
        for chain in chains(self.walk):
            for run in (run for piece in chain.pieces for run in _runs(piece)):
                found += self.attempt("linear", run.nodes[-1].output, partial(self._folded, run))
        for chain, sign, target in _branches(self.walk):
            found += self.attempt("residual", target, partial(self._residual, chain, sign, target))
        return found

    def _folded(self, piece: Piece) -> Shortcut:
        source, target = piece.source, piece.nodes[-1].output
        replaces = frozenset(node.output for node in piece.nodes)
        if self.pairs_wanted and target == self.walk.graph.output:
            with suppress(NotApplicable):
                matrix, error = explicit(piece)
                self.effort.spend(gram_work(matrix.shape))
                upper = sum_up((matrix_norm(matrix, rtol=self.rtol).upper, error))
                pairs = np.where(np.eye(len(matrix), dtype=bool), 0.0, (distances(matrix, 1.0) + 1.5 * error))  # sqrt 2
                return Shortcut(source, target, upper, "linear", replaces, np.nextafter(pairs, np.inf) * (pairs > 0))
        return Shortcut(source, target, folded_norm(piece, self.rtol, self.effort), "linear", replaces)

    def _residual(self, chain: Chain, sign: float, target: str) -> Shortcut:
        upper, rule = residual_bound(chain, sign, self.effort)
        return Shortcut(chain.source, target, upper, rule, chain.nodes | {target})

    def averaged(self) -> list[Shortcut]:
        """Combettes and Pesquet."""
        return self._each("combettes-pesquet", self._averaged)

    def eclipse(self) -> list[Shortcut]:
        """ECLipsE."""
        return self._each("eclipse", self._eclipse)

    def _each(self, rule: str, find: Callable[[Chain, int], Shortcut]) -> list[Shortcut]:
        found, several = [], [chain for chain in chains(self.walk) if len(chain.pieces) > 1]
        for chain in several:
            found += self.attempt(rule, chain.target, partial(find, chain, len(several)))
        return found

    def _averaged(self, chain: Chain, _: int) -> Shortcut:
        *before, last = layers_of(chain, self.effort)
        factor = product_up(averaged(part, self.rtol, self.effort)[0] for part in before)
        upper, pairs = averaged(last, self.rtol, self.effort, pairs=self._ends_in_logits(chain, last))
        return self._shortcut(chain, "combettes-pesquet", factor, upper, pairs)

    def _eclipse(self, chain: Chain, count: int) -> Shortcut:
        *before, last = layers_of(chain, self.effort)
        shared = count * (len(before) + 1)
        parts = [certified(part, self.effort, pairs=False, chains=shared) for part in before]
        factor = product_up(min(end.upper(self.rtol) for end in ends) for ends in parts)
        wanted = self._ends_in_logits(chain, last)
        ends = certified(last, self.effort, pairs=wanted, chains=shared)
        pairs = np.minimum.reduce([end.pairs() for end in ends]) if wanted else None
        return self._shortcut(chain, "eclipse", factor, min(end.upper(self.rtol) for end in ends), pairs)

    def _ends_in_logits(self, chain: Chain, last: Sequence[Layer]) -> bool:
        """Whether the differences of logits have constants of their own: a dense layer makes them."""
        return (
            self.pairs_wanted
            and chain.target == self.walk.graph.output
            and last[-1].slopes is None
            and (last[-1].gathers or not is_complex(last[-1].blocks))
        )

    def _shortcut(self, chain: Chain, rule: str, factor: Upper, upper: Upper, pairs: Pairs | None) -> Shortcut:
        if pairs is not None:
            pairs = np.where(pairs > 0, np.nextafter(pairs * factor, np.inf), 0.0)
        return Shortcut(chain.source, chain.target, product_up((factor, upper)), rule, pairs=pairs)


def constants(
    walk: Walk, shortcuts: Sequence[Shortcut], parts: Mapping[str, Parts]
) -> tuple[dict[str, Upper], list[Shortcut]]:
    """A Lipschitz constant of every activation with respect to the network's input, and the shortcuts it took."""
    ending: dict[str, list[Shortcut]] = {}
    for shortcut in shortcuts:
        ending.setdefault(shortcut.target, []).append(shortcut)
    found, used = _Constants(walk, ending, parts).of(walk.graph.input, range(len(walk.graph.nodes)))
    return found, list(used.values())


@dataclass(slots=True)
class _Constants:
    walk: Walk
    ending: Mapping[str, Sequence[Shortcut]]
    parts: Mapping[str, Parts]
    joined: dict[str, tuple[Upper, dict[str, Shortcut]]] = field(default_factory=dict)  # of parts, by target

    def of(self, source: str, positions: Iterable[int]) -> tuple[dict[str, Upper], dict[str, Shortcut]]:
        """With respect to ``source``, of what the nodes at these positions make of it; and the shortcuts by target."""
        found, used = {source: Upper(1.0)}, dict[str, Shortcut]()
        for i in positions:
            node, rule, norm = self.walk.graph.nodes[i], self.walk.rules[i], self.walk.norms[i]
            best, taken = compose(rule, norm.upper, [found[name] for name in node.inputs]), dict[str, Shortcut]()
            for shortcut in self.ending.get(node.output, ()):
                if shortcut.source in found:
                    upper = product_up((shortcut.upper, found[shortcut.source]))
                    if upper < best:
                        best, taken = upper, {node.output: shortcut}
            parts = self.parts.get(node.output)
            if parts is not None and parts.source in found:
                own, there = self._join(parts, node, rule)
                upper = product_up((own, found[parts.source]))
                if upper < best:
                    best, taken = upper, there
            found[node.output] = best
            used |= taken
        return found, used

    def _join(self, parts: Parts, node: Node, rule: Rule) -> tuple[Upper, dict[str, Shortcut]]:
        if parts.target not in self.joined:
            inner, used = self.of(parts.source, parts.between)
            own = parts.compose(rule, [inner[name] for name in node.inputs])
            last = Shortcut(parts.source, parts.target, own, "separate parts", frozenset({parts.target}))
            self.joined[parts.target] = own, used | {parts.target: last}
        return self.joined[parts.target]


def _runs(piece: Piece) -> list[Piece]:
    """The whole piece, and its parts up to each layer with weights, where there is more than one node to fold."""
    ends = [i + 1 for i, rule in enumerate(piece.rules) if isinstance(rule, Dense | Convolution)]
    parts = [piece.part(start, stop) for start, stop in pairwise([0, *ends])]
    if len(ends) != 1 or any(norm.upper != 1.0 for norm in piece.norms[ends[0] :]):
        parts.append(piece)
    return [part for part in parts if sum(norm.upper != 1.0 for norm in part.norms) > 1]


def _branches(walk: Walk) -> list[tuple[Chain, float, str]]:
    """``x + sign f(x)``, up to a sign of all: the chain f, the sign, and the sum."""
    made, found = walk.made(), []
    for node, rule in zip(walk.graph.nodes, walk.rules, strict=True):
        if not (isinstance(rule, Sum) and rule.exact and [abs(c) for c in rule.coefficients] == [1, 1]):
            continue
        for source, end in (node.inputs, node.inputs[::-1]):
            positions: list[int] = []
            name = end
            while name != source and name in made and len(positions) < LONGEST_BRANCH:
                before = walk.graph.nodes[made[name]]
                fits = is_linear(before, walk.rules[made[name]]) or interval(walk.rules[made[name]]) is not None
                if len(before.inputs) != 1 or not fits:
                    break
                positions.insert(0, made[name])
                (name,) = before.inputs
            if name == source and positions:
                chain = chain_of(walk, positions)
                if chain is not None and chain.source == source:
                    found.append((chain, rule.coefficients[0] * rule.coefficients[1], node.output))
    return found
