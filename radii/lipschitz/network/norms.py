"""The Lipschitz constant of each node of a graph, or all that stands in the way of one."""

import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node, Obstacle, Obstructed
from radii.graph.rules import Concat, Convolution, Dense, Matrices, Rule, Slope, Sum, Unbounded
from radii.graph.unbounded import obstacles_of
from radii.lipschitz.convolution.conv import conv_norm
from radii.lipschitz.dense.matrix import ZERO, NormBound, gram_bound, gram_work, matrix_norm
from radii.lipschitz.dense.slices import sliced_norm
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.rounding import LayerTooLarge, Lower, NonFiniteWeights, Upper, as_float64, product_up, sum_up, up
from radii.lipschitz.work import TooMuchWork

SLICES_SHARE = 256  # one part in so many of the budget, whatever is left of it: for a layer whose norm takes too much


class UnboundedModel(Obstructed):
    """The network has no useful global Lipschitz constant. ``obstacles`` lists every node that stands in the way."""

    words: ClassVar[str] = "has no useful Lipschitz bound"


Known = dict[bytes, NormBound]
"""Norms of layers that were bounded before."""


def node_norms(
    graph: Graph, rules: list[Rule], rtol: float, known: Known | None = None, effort: Effort | None = None
) -> tuple[list[NormBound], list[float]]:
    """Each node's own constant and the seconds it took, or all the obstacles at once."""
    known, effort = {} if known is None else known, Effort() if effort is None else effort
    norms, seconds, obstacles, unbounded = [], [], [], []
    for node, rule in zip(graph.nodes, rules, strict=True):
        started = time.perf_counter()
        name = f"node {node.index} ({node.operator.name})"
        effort.tell(f"{name} of {graph.nodes[-1].index + 1}")
        try:
            norm = norm_of(rule, rtol, known, effort, name)
            if not math.isfinite(norm.upper):
                raise NonFiniteWeights("its norm is beyond the range of float64")
        except NonFiniteWeights as problem:
            obstacles.append(_obstacle(node, str(problem), "Find where training diverged and export again"))
        except LayerTooLarge as problem:
            obstacles.append(_obstacle(node, str(problem), "Use smoothing"))
        except NoConstant as problem:
            unbounded.append((node, problem.rule))
        else:
            norms.append(norm)
            seconds.append(time.perf_counter() - started)
    if obstacles or unbounded:
        found = (*obstacles, *obstacles_of(unbounded))
        raise UnboundedModel(tuple(sorted(found, key=lambda one: -1 if one.node is None else one.node)))
    return norms, seconds


class NoConstant(Exception):
    """A node has no useful constant."""

    def __init__(self, rule: Unbounded) -> None:
        self.rule = rule


def _obstacle(node: Node, reason: str, remedy: str) -> Obstacle:
    return Obstacle(node=node.index, operator=node.operator.name, reason=reason, remedy=remedy)


def norm_of(rule: Rule, rtol: float, known: Known, effort: Effort, name: str) -> NormBound:
    """A node's own constant. Raises `NoConstant`, or why its layer has none.

    Args:
        effort: where it does not allow a layer's own norm, that is bounded from slices, and a note says so.
        name: of the node, for that note.
    """
    match rule:
        case Slope():
            if not rule.upper >= 0:  # NaN too
                raise NonFiniteWeights(f"its slope is {rule.upper}")
            return NormBound(Upper(rule.upper), Lower(0.0), "closed form", 0)
        case Sum():
            return NormBound(sum_up(map(abs, rule.coefficients)), Lower(0.0), "closed form", 0)
        case Concat():
            return NormBound(Upper(1.0), Lower(0.0), "closed form", 0)
        case Unbounded():
            raise NoConstant(rule)
    key = _key(rule.weight, _settings(rule) if isinstance(rule, Convolution) else None)
    if key not in known:
        try:
            known[key] = _own_norm(rule, rtol, effort)
        except TooMuchWork as problem:
            known[key] = _from_slices(rule, effort)
            effort.refuse(name, problem)
    return known[key]


def _settings(rule: Convolution) -> dict[str, Any]:
    return {
        "input_size": rule.input_size,
        "stride": rule.stride,
        "padding": rule.padding,
        "dilation": rule.dilation,
        "groups": rule.groups,
        "transposed": rule.transposed,
        "output_padding": rule.output_padding or 0,
    }


def _own_norm(rule: Dense | Matrices | Convolution, rtol: float, effort: Effort) -> NormBound:
    """The norm of a layer. Raises `TooMuchWork`."""
    if 0 in rule.weight.shape:
        return ZERO
    if isinstance(rule, Convolution):
        return conv_norm(rule.weight, **_settings(rule), rtol=rtol, spend=effort.spend)
    effort.spend(gram_work(rule.weight.shape))
    if isinstance(rule, Dense):
        return matrix_norm(rule.weight, rtol=rtol)
    return gram_bound(as_float64(rule.weight), rtol)


def _from_slices(rule: Dense | Matrices | Convolution, effort: Effort) -> NormBound:
    """A bound for as little work as there has to be. Formulas: docs/numerics.md 2.10."""
    weight, copies = as_float64(rule.weight), 1
    if isinstance(rule, Convolution):
        weight = weight.reshape(rule.groups, weight.shape[0] // rule.groups, -1)
        for kernel, stride, dilation in zip(rule.weight.shape[2:], rule.stride, rule.dilation, strict=True):
            copies *= -(-kernel * math.gcd(stride, dilation) // stride)  # outputs that read a pixel, at most
    matrices = weight[None] if weight.ndim == 2 else weight
    rows = max(1, effort.share(SLICES_SHARE) // matrices.size)
    rows = min(rows, *matrices.shape[1:])
    largest = max(sliced_norm(matrix, rows) for matrix in matrices)
    return NormBound(
        product_up((largest, up(math.sqrt(copies)))), Lower(0.0), "slices", -(-min(matrices.shape[1:]) // rows)
    )


def _key(weight: npt.NDArray[Any], settings: Mapping[str, Any] | None = None) -> bytes:
    header = repr((weight.shape, weight.dtype.str, settings)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(weight).tobytes()).digest()
