"""The Lipschitz constant of each node of a graph, or all that stands in the way of one."""

import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node, Obstacle, Obstructed
from radii.graph.rules import Concat, Convolution, Dense, Matrices, Rule, Slope, Sum, Unbounded
from radii.lipschitz.convolution.conv import conv_norm
from radii.lipschitz.dense.matrix import ZERO, NormBound, gram_bound, matrix_norm
from radii.lipschitz.network.effort import Progress, silent
from radii.lipschitz.rounding import LayerTooLarge, Lower, NonFiniteWeights, Upper, as_float64, sum_up


class UnboundedModel(Obstructed):
    """The network has no useful global Lipschitz constant. ``obstacles`` lists every node that stands in the way."""


Known = dict[bytes, NormBound]
"""Norms of layers that were bounded before."""


def node_norms(
    graph: Graph, rules: list[Rule], rtol: float, known: Known | None = None, progress: Progress = silent
) -> tuple[list[NormBound], list[float]]:
    """Each node's own constant and the seconds it took, or all the obstacles at once."""
    known = {} if known is None else known
    norms, seconds, obstacles = [], [], []
    for node, rule in zip(graph.nodes, rules, strict=True):
        started = time.perf_counter()
        progress(f"node {node.index} ({node.operator.name}) of {graph.nodes[-1].index + 1}")
        try:
            norm = norm_of(rule, rtol, known)
            if not math.isfinite(norm.upper):
                raise NonFiniteWeights("its norm is beyond the range of float64")
        except NonFiniteWeights as problem:
            obstacles.append(_obstacle(node, str(problem), "Find where training diverged and export again"))
        except LayerTooLarge as problem:
            obstacles.append(_obstacle(node, str(problem), "Use smoothing"))
        except NoConstant as problem:
            obstacles.append(_obstacle(node, problem.rule.reason, problem.rule.remedy))
        else:
            norms.append(norm)
            seconds.append(time.perf_counter() - started)
    if obstacles:
        raise UnboundedModel(tuple(obstacles))
    return norms, seconds


class NoConstant(Exception):
    """A node has no useful constant."""

    def __init__(self, rule: Unbounded) -> None:
        self.rule = rule


def _obstacle(node: Node, reason: str, remedy: str) -> Obstacle:
    return Obstacle(node=node.index, operator=node.operator.name, reason=reason, remedy=remedy)


def norm_of(rule: Rule, rtol: float, known: Known) -> NormBound:
    """A node's own constant. Raises `NoConstant`, or why its layer has none."""
    match rule:
        case Slope():
            if not rule.upper >= 0:  # NaN too
                raise NonFiniteWeights(f"its slope is {rule.upper}")
            return NormBound(Upper(rule.upper), Lower(0.0), "closed form", 0)
        case Dense():
            key = _key(rule.weight)
            if key not in known:
                known[key] = ZERO if 0 in rule.weight.shape else matrix_norm(rule.weight, rtol=rtol)
            return known[key]
        case Matrices():
            key = _key(rule.weight)
            if key not in known:
                known[key] = gram_bound(as_float64(rule.weight), rtol)
            return known[key]
        case Convolution():
            settings: dict[str, Any] = {
                "input_size": rule.input_size,
                "stride": rule.stride,
                "padding": rule.padding,
                "dilation": rule.dilation,
                "groups": rule.groups,
                "transposed": rule.transposed,
                "output_padding": rule.output_padding or 0,
            }
            key = _key(rule.weight, settings)
            if key not in known:
                known[key] = conv_norm(rule.weight, **settings, rtol=rtol)
            return known[key]
        case Sum():
            return NormBound(sum_up(map(abs, rule.coefficients)), Lower(0.0), "closed form", 0)
        case Concat():
            return NormBound(Upper(1.0), Lower(0.0), "closed form", 0)
        case Unbounded():
            raise NoConstant(rule)


def _key(weight: npt.NDArray[Any], settings: Mapping[str, Any] | None = None) -> bytes:
    header = repr((weight.shape, weight.dtype.str, settings)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(weight).tobytes()).digest()
