"""The Lipschitz constant of a whole network: the rules of its nodes, composed.

Written against the graph's rules (:mod:`radii.graph.rules`) alone: an operator says what it is, this says what
follows. Every number is an upper bound, rounded up, for the l2 norm on both sides. Formulas: docs/numerics.md 3.1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from radii.bounds import DEFAULT_BUDGET, BoundName
from radii.files import external_data
from radii.graph import Graph, Node, Obstacle, Task, left_out, read_network, undecorated, with_cones
from radii.graph.rules import Convolution, Dense, Rule
from radii.lipschitz.dense.matrix import NormBound, check_rtol
from radii.lipschitz.network.chain import Walk
from radii.lipschitz.network.choices import with_extremes
from radii.lipschitz.network.compose import SQRT2
from radii.lipschitz.network.copies import with_gathers
from radii.lipschitz.network.effort import Effort, Progress, silent
from radii.lipschitz.network.forward import forward_error
from radii.lipschitz.network.joins import with_joins
from radii.lipschitz.network.norms import Known, UnboundedModel, node_norms
from radii.lipschitz.network.pairs import MOST_CLASSES, pairwise_constants
from radii.lipschitz.network.parts import all_parts
from radii.lipschitz.network.result import LayerBound, NetworkBound
from radii.lipschitz.network.shortcuts import Search, Shortcut, constants
from radii.lipschitz.rounding import Upper, product_up

LOOSE = 1e-6  # relative; branches that cost less cost nothing
MOST_NAMED = 5  # nodes in one note


def network_bound(
    network: Graph | str | PathLike[str],
    *,
    bound: BoundName = "auto",
    rtol: float = 1e-6,
    task: Task = "classifier",
    input_shape: tuple[int, ...] | None = None,
    budget: int = DEFAULT_BUDGET,
    progress: Progress = silent,
) -> NetworkBound:
    """An l2 Lipschitz constant of a network's logits: a product along chains, a sum at sums, or sharper rules.

    ``x + f(x)`` costs ``1 + L_f``, a concatenation the square root of the sum of the squares. Each logit difference
    gets its own constant where the network ends in a dense layer. Equal layers are bounded once.

    Args:
        network: a graph, or the path of a file that :func:`radii.graph.read_network` takes, its weights beside it.
        bound: ``product``; ``combettes-pesquet`` (:mod:`radii.lipschitz.network.combettes`); ``eclipse``
            (:mod:`radii.lipschitz.network.eclipse`); ``auto``: the smallest of them, for each pair of classes too.
        rtol: as in :func:`matrix_norm` and :func:`conv_norm`.
        task: of a classifier an end that keeps the order of the classes (a softmax, a temperature, ...) is left out, as
            :func:`radii.graph.undecorated` does it, for a graph as for a file; of all others the outputs themselves are
            bounded.
        input_shape: of one input, for a file that leaves it open or has no batch axis, as in
            :func:`radii.graph.read_network`.
        budget: what norms, and rules that look at several layers at once, may take, in units of 2^30 multiply-adds. It
            is counted and not timed, so the same file gives the same bound again; where it is met, a norm is bounded
            from slices of its weight, the product of norms stands, and a note says which budget allows more.
        progress: told what is worked on, before each node and each attempt at a sharper rule.

    Raises:
        UnboundedModel: a node has no useful constant; all such nodes are listed.
        UnsupportedModel: the file cannot be read.
        ValueError: no such bound, ``rtol`` outside (0, 1), a budget below 1, or an input shape that is not the graph's.
    """
    started = time.perf_counter()
    check_rtol(rtol)
    if bound not in get_args(BoundName):
        raise ValueError(f"bound must be one of {', '.join(get_args(BoundName))}, not {bound!r}")
    if budget < 1:
        raise ValueError(f"a budget is a whole number from 1 on, not {budget}")
    given = network if isinstance(network, Graph) else _read(Path(network), task, input_shape)
    if input_shape is not None and tuple(input_shape) != given.input_shape:
        raise ValueError(f"an input has the shape {given.input_shape}, not {tuple(input_shape)}")
    effort = Effort(budget, progress)
    bounded = undecorated(given) if task == "classifier" else given
    known: Known = {}
    spelled, rules, norms, seconds = _ruled(with_gathers(with_cones(with_extremes(bounded))), rtol, known, effort)
    error = forward_error(spelled, rules, norms)
    graph = with_joins(spelled, known, rtol, effort)
    if graph is not spelled:
        graph, rules, norms, seconds = _ruled(graph, rtol, known, effort)
    walk = Walk(graph, rules, norms)
    search = Search(walk, rtol, pairs_wanted=1 < graph.num_classes <= MOST_CLASSES, effort=effort)
    local = search.local()
    # each with what it takes beside the local rules; the simplest first, which wins a tie
    more = {"product": list, "combettes-pesquet": search.averaged, "eclipse": search.eclipse}
    shortcuts = {name: [*local, *find()] for name, find in more.items() if bound in ("auto", name)}
    parts = all_parts(walk)
    walked = {name: constants(walk, taken, parts) for name, taken in shortcuts.items()}
    rule = min(walked, key=lambda name: walked[name][0][graph.output])
    upper = walked[rule][0][graph.output]
    if not math.isfinite(upper):
        raise UnboundedModel((Obstacle(None, "", "the product of its layers' norms overflows", "Use smoothing"),))
    costs = {node.output: _cost(walked[rule][0], node, norm) for node, norm in zip(graph.nodes, norms, strict=True)}
    replaced = {name: used.rule for used in walked[rule][1] for name in used.replaces}
    return NetworkBound(
        upper=upper,
        rule=rule,
        layers=tuple(
            _record(node, rule, norm, seconds, upper, costs[node.output], replaced)
            for node, rule, norm, seconds in zip(graph.nodes, rules, norms, seconds, strict=True)
        ),
        pairwise=_pairwise(
            walk, [found for found, _ in walked.values()], [s for taken in shortcuts.values() for s in taken]
        ),
        num_classes=graph.num_classes,
        seconds=time.perf_counter() - started,
        error=error,
        graph=bounded,
        left_out=() if bounded is given else left_out(given),
        notes=(*effort.notes(), *search.notes, *_independent(graph, costs, replaced)),
    )


def _ruled(
    graph: Graph, rtol: float, known: Known, effort: Effort
) -> tuple[Graph, list[Rule], list[NormBound], list[float]]:
    """A graph with the rule and the norm of every node, and the seconds that the latter took."""
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    return graph, rules, *node_norms(graph, rules, rtol, known, effort)


def _pairwise(
    walk: Walk, found: Sequence[Mapping[str, Upper]], shortcuts: Sequence[Shortcut]
) -> npt.NDArray[np.float64] | None:
    """The best of the constants of each pair of classes, from constants of the activations found in several ways."""
    least = {name: min(constants[name] for constants in found) for name in found[0]}
    cap = product_up((SQRT2, least[walk.graph.output]))
    pairs = pairwise_constants(walk.graph, walk.rules, least, cap)
    for shortcut in shortcuts:
        if shortcut.pairs is not None and math.isfinite(least[shortcut.source]):
            own = shortcut.pairs * least[shortcut.source]
            own = np.where(own > 0, np.nextafter(own, np.inf), 0.0)
            pairs = np.minimum(own, cap if pairs is None else pairs)
    return pairs


def _read(path: Path, task: Task, shape: tuple[int, ...] | None) -> Graph:
    beside = {file.name: file.read_bytes() for file in external_data(path)}
    return read_network(path.read_bytes(), external_data=beside, input_shape=shape, task=task)


def _cost(constants: Mapping[str, Upper], node: Node, norm: NormBound) -> float:
    """What a node contributes: its norm, or how much more its constant is than the largest of several inputs'."""
    if len(node.inputs) == 1:
        return norm.upper
    largest = max(constants[name] for name in node.inputs)
    return constants[node.output] / largest if largest else 1.0


def _independent(graph: Graph, costs: Mapping[str, float], replaced: Mapping[str, str]) -> list[str]:
    """A sentence on nodes where branches meet that no rule looks at together."""
    # parts that are joined cost no more than the largest of them, but for entries that several read
    together = {name for name, rule in replaced.items() if rule != "separate parts"}
    joined = [node for node in graph.nodes if len(node.inputs) > 1 and node.output not in together]
    nodes = [node for node in joined if node.output not in replaced or node.operator.copies]
    loose = [node for node in nodes if costs[node.output] > 1 + LOOSE]
    if not loose:
        return []
    where = ", ".join(f"{node.index} ({node.operator.name})" for node in loose[:MOST_NAMED])
    more = f" and {len(loose) - MOST_NAMED} more" if len(loose) > MOST_NAMED else ""
    factor = math.exp(math.fsum(math.log(costs[node.output]) for node in loose))
    reason = "are bounded as if each could be steepest where the others are, which costs a factor of up to"
    return [f"branches that meet in node {where}{more} {reason} {factor:.3g}"]


def _record(
    node: Node,
    rule: Rule,
    norm: NormBound,
    seconds: float,
    total: Upper,
    cost: float,
    replaced: Mapping[str, str],
) -> LayerBound:
    measurable = cost > 0 and total > 0 and abs(math.log(total)) > 1e-3
    return LayerBound(
        index=node.index,
        operator=node.operator.name,
        label=node.label,
        rule=replaced.get(node.output, type(rule).__name__.lower()),
        shape=rule.weight.shape if isinstance(rule, Dense | Convolution) else None,
        padding=rule.padding if isinstance(rule, Convolution) else None,
        torus=norm.torus,
        method=norm.method,
        iterations=norm.iterations,
        upper=norm.upper,
        lower=norm.lower,
        slack=norm.slack,
        share=math.log(cost) / math.log(total) + 0.0 if measurable else None,
        seconds=seconds,
    )
