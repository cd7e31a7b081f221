"""The Lipschitz constant of a whole network: the rules of its nodes, composed.

Written against the graph's rules (:mod:`radii.graph.rules`) alone: an operator says what it is, this says what
follows. Every number is an upper bound, rounded up, for the l2 norm on both sides.
"""

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from radii.bounds import BoundName
from radii.files import external_data
from radii.graph import Graph, Node, Obstacle, read_network, with_cones
from radii.graph.rules import Concat, Convolution, Dense, Rule, Slope, Sum, Unbounded
from radii.lipschitz.compose import SQRT2, compose
from radii.lipschitz.conv import conv_norm
from radii.lipschitz.forward import ForwardError, forward_error
from radii.lipschitz.matrix import ZERO, NormBound, check_rtol, matrix_norm
from radii.lipschitz.pairs import pairwise_constants
from radii.lipschitz.rounding import LayerTooLarge, Lower, NonFiniteWeights, Upper, product_up, sum_up

GENEROUS_MARGIN = 16.0  # logits: the other class is e^16, ten million, times less likely
USEFUL_RADIUS = 0.5 / 255  # half a step of an 8-bit pixel, inputs in [0, 1]


class UnboundedModel(Exception):
    """The network has no useful global Lipschitz constant. ``obstacles`` lists every node that stands in the way."""

    def __init__(self, obstacles: tuple[Obstacle, ...]) -> None:
        self.obstacles = obstacles
        super().__init__("\n".join(map(str, obstacles)))


@dataclass(frozen=True, slots=True)
class LayerBound:
    """What one node contributes.

    Attributes:
        index: the node's position in the file (-1: put there by :func:`radii.graph.normalized`).
        label: the node's name in the file.
        rule: ``slope``, ``dense``, ``convolution``, ``sum`` or ``concat``.
        shape: of the weight, as the rule holds it; None without one.
        padding: (before, after) per axis of a convolution; of a transposed one, what is cropped.
        torus, method, iterations, upper, lower, slack: as in :class:`NormBound`; of a sum, ``upper`` is the sum of
            ``|c_i|``. ``lower`` is 0 where nothing is known from below.
        share: ``log upper / log L``: in a chain the shares add up to 1. None where L is 0, or too near 1 to divide by.
        seconds: wall time of its bound; next to nothing for a layer whose equal was bounded before.
    """

    index: int
    operator: str
    label: str
    rule: str
    shape: tuple[int, ...] | None
    padding: tuple[tuple[int, int], ...] | None
    torus: tuple[int, ...] | None
    method: str
    iterations: int
    upper: Upper
    lower: Lower
    slack: float
    share: float | None
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class NetworkBound:
    """A proved l2 Lipschitz constant of the logits, and what it is made of.

    Attributes:
        upper: ``||f(x) - f(x')|| <= upper ||x - x'||`` for all inputs.
        rule: how the layers were composed.
        pairwise: (K, K): ``pairwise[y, j]`` is a Lipschitz constant of ``z_y - z_j``, 0 on the diagonal. None where it
            would be ``sqrt(2) upper`` throughout.
        seconds: wall time of the bound.
        error: what rounding does to logits evaluated in float64, see :mod:`radii.lipschitz.forward`.
    """

    upper: Upper
    rule: str
    layers: tuple[LayerBound, ...]
    pairwise: npt.NDArray[np.float64] | None
    num_classes: int
    seconds: float
    error: ForwardError = field(repr=False)

    @property
    def vacuous(self) -> bool:
        """Whether even a margin of 16 logits certifies less than half a step of an 8-bit pixel: use smoothing."""
        return USEFUL_RADIUS * self.smallest_pair > GENEROUS_MARGIN

    @property
    def smallest_pair(self) -> float:
        """The smallest Lipschitz constant of a difference of two logits."""
        if self.pairwise is None:
            return product_up((SQRT2, self.upper))
        return float(self.pairwise[~np.eye(self.num_classes, dtype=bool)].min(initial=math.inf))

    def pairs(self, label: int) -> npt.NDArray[np.float64]:
        """(K,) Lipschitz constants of ``z_label - z_j``."""
        if self.pairwise is not None:
            row: npt.NDArray[np.float64] = self.pairwise[label]
            return row
        constants = np.full(self.num_classes, float(product_up((SQRT2, self.upper))))
        constants[label] = 0
        return constants

    def to_json(self) -> dict[str, Any]:
        """JSON values; of the pairs, the range only."""
        pairwise = None
        if self.pairwise is not None and self.num_classes > 1:
            off = self.pairwise[~np.eye(self.num_classes, dtype=bool)]
            pairwise = {"min": float(off.min()), "max": float(off.max())}
            if not math.isfinite(pairwise["max"]):  # JSON has no infinity
                pairwise = None
        return {
            "upper": self.upper,
            "norm": "l2",
            "rule": self.rule,
            "vacuous": self.vacuous,
            "pairwise": pairwise,
            "layers": [asdict(layer) | {"seconds": round(layer.seconds, 6)} for layer in self.layers],
            "seconds": round(self.seconds, 3),
        }


def network_bound(
    network: Graph | str | PathLike[str], *, bound: BoundName = "auto", rtol: float = 1e-6
) -> NetworkBound:
    """An l2 Lipschitz constant of a network's logits: a product along chains, a sum at sums.

    ``x + f(x)`` costs ``1 + L_f``, a concatenation the square root of the sum of the squares. Each logit difference
    gets its own constant where the network ends in a dense layer. Equal layers are bounded once.

    Args:
        network: a graph, or the path of a file that :func:`radii.graph.read_network` takes, its weights beside it.
        bound: ``product``, or ``auto``: the smallest of all that apply.
        rtol: as in :func:`matrix_norm` and :func:`conv_norm`.

    Raises:
        UnboundedModel: a node has no useful constant; all such nodes are listed.
        UnsupportedModel: the file cannot be read.
        ValueError: no such bound, or ``rtol`` outside (0, 1).
    """
    started = time.perf_counter()
    check_rtol(rtol)
    if bound not in get_args(BoundName):
        raise ValueError(f"bound must be one of {', '.join(get_args(BoundName))}, not {bound!r}")
    graph = with_cones(network if isinstance(network, Graph) else _read(Path(network)))
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    norms, seconds = _norms(graph, rules, rtol)
    constants: dict[str, Upper] = {graph.input: Upper(1.0)}
    for node, rule, norm in zip(graph.nodes, rules, norms, strict=True):
        constants[node.output] = compose(rule, norm.upper, [constants[name] for name in node.inputs])
    upper = constants[graph.output]
    if not math.isfinite(upper):
        raise UnboundedModel((Obstacle(None, "", "the product of its layers' norms overflows", "Use smoothing"),))
    return NetworkBound(
        upper=upper,
        rule="product",
        layers=tuple(_record(*parts, upper) for parts in zip(graph.nodes, rules, norms, seconds, strict=True)),
        pairwise=pairwise_constants(graph, rules, constants, product_up((SQRT2, upper))),
        num_classes=graph.num_classes,
        seconds=time.perf_counter() - started,
        error=forward_error(graph, rules, norms),
    )


def _read(path: Path) -> Graph:
    beside = {file.name: file.read_bytes() for file in external_data(path)}
    return read_network(path.read_bytes(), external_data=beside)


def _norms(graph: Graph, rules: list[Rule], rtol: float) -> tuple[list[NormBound], list[float]]:
    """Each node's own constant and the seconds it took, or all the obstacles at once."""
    known: dict[bytes, NormBound] = {}
    norms, seconds, obstacles = [], [], []
    for node, rule in zip(graph.nodes, rules, strict=True):
        started = time.perf_counter()
        try:
            norm = _norm(rule, rtol, known)
            if not math.isfinite(norm.upper):
                raise NonFiniteWeights("its norm is beyond the range of float64")
        except NonFiniteWeights as problem:
            obstacles.append(_obstacle(node, str(problem), "Find where training diverged and export again"))
        except LayerTooLarge as problem:
            obstacles.append(_obstacle(node, str(problem), "Use smoothing"))
        except _NoConstant as problem:
            obstacles.append(_obstacle(node, problem.rule.reason, problem.rule.remedy))
        else:
            norms.append(norm)
            seconds.append(time.perf_counter() - started)
    if obstacles:
        raise UnboundedModel(tuple(obstacles))
    return norms, seconds


class _NoConstant(Exception):
    def __init__(self, rule: Unbounded) -> None:
        self.rule = rule


def _obstacle(node: Node, reason: str, remedy: str) -> Obstacle:
    return Obstacle(node=node.index, operator=node.operator.name, reason=reason, remedy=remedy)


def _norm(rule: Rule, rtol: float, known: dict[bytes, NormBound]) -> NormBound:
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
            raise _NoConstant(rule)


def _key(weight: npt.NDArray[Any], settings: Mapping[str, Any] | None = None) -> bytes:
    header = repr((weight.shape, weight.dtype.str, settings)).encode()
    return hashlib.sha256(header + np.ascontiguousarray(weight).tobytes()).digest()


def _record(node: Node, rule: Rule, norm: NormBound, seconds: float, total: Upper) -> LayerBound:
    measurable = norm.upper > 0 and total > 0 and abs(math.log(total)) > 1e-3
    return LayerBound(
        index=node.index,
        operator=node.operator.name,
        label=node.label,
        rule=type(rule).__name__.lower(),
        shape=rule.weight.shape if isinstance(rule, Dense | Convolution) else None,
        padding=rule.padding if isinstance(rule, Convolution) else None,
        torus=norm.torus,
        method=norm.method,
        iterations=norm.iterations,
        upper=norm.upper,
        lower=norm.lower,
        slack=norm.slack,
        share=math.log(norm.upper) / math.log(total) + 0.0 if measurable else None,
        seconds=seconds,
    )
