"""What rounding does to logits evaluated in float64: an a-priori bound, affine in the norm of the input.

For each activation two bounds ``s ||x|| + o`` are carried from the input on: of its norm, and of the distance between
its computed and its true value. A node multiplies both by its own Lipschitz constant and adds to the second what its
own arithmetic loses:

* dense layers and convolutions: ``gamma_{k+4} (|| |W| || ||a|| + ||b||)``, k products a sum, summed in any order;
* sums: a few roundings; copies, comparisons and ReLU: nothing;
* all else (smooth activations, average pools, softmax): ``2^-36`` of ``L ||a|| + ||op(0)||``, which bounds the norm
  of the output; where entries are mixed, what sums of all of a sample's may lose, if that is more;
* a function spelled out in several nodes (:mod:`radii.graph.cone`) states itself what it loses beyond that.

The last but one is the one assumption: it holds for elementary functions that err by less than 100,000 ulp, which those
of PyTorch are far from. It is about numbers that do not overflow, so beyond `REACH` there is no bound: a product that
became infinite may look like any number behind an activation that saturates. Formulas: docs/numerics.md 3.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radii.graph import Graph, Node
from radii.graph.rules import Convolution, Dense, Matrices, Rule, Slope, Sum
from radii.lipschitz.dense.matrix import NormBound
from radii.lipschitz.network.compose import compose
from radii.lipschitz.rounding import (
    Upper,
    as_float64,
    certified_arithmetic,
    gamma,
    ldexp_up,
    product_up,
    scaled,
    sum_up,
    up,
)

ELEMENTARY = 2.0**-36
UNDERFLOW = 2.0**-900  # more than all products of one layer can lose by underflow
REACH = 2.0**500  # norms up to which nothing overflows inside of a node: not even sums of squares

Affine = tuple[Upper, Upper]


@dataclass(frozen=True, slots=True)
class ForwardError:
    """``||computed logits - logits||_2 <= slope ||x|| + offset`` for a float64 evaluation of the graph at x.

    Attributes:
        reach: the same for the largest norm on the way, from the input to the logits.
    """

    slope: Upper
    offset: Upper
    reach: Affine

    def at(self, norm: float) -> Upper:
        """The bound at an input of this l2 norm (or less); infinite where some activation may be near overflow."""
        if not _value(self.reach, norm) <= REACH:
            return Upper(math.inf)
        return _value((self.slope, self.offset), norm)


def _value(affine: Affine, norm: float) -> Upper:
    return sum_up((product_up((affine[0], norm)), affine[1]))


@certified_arithmetic()
def forward_error(graph: Graph, rules: Sequence[Rule], norms: Sequence[NormBound]) -> ForwardError:
    """The bound of this module for a graph, given each node's rule and norm."""
    zero = Upper(0.0)
    size: dict[str, Affine] = {graph.input: (Upper(1.0), zero)}
    error: dict[str, Affine] = {graph.input: (zero, zero)}
    reach = size[graph.input]
    for node, rule, norm in zip(graph.nodes, rules, norms, strict=True):
        sizes, errors = [size[name] for name in node.inputs], [error[name] for name in node.inputs]
        at_zero = _norm_at_zero(graph, node)
        grown = _through(rule, norm, sizes)
        size[node.output] = (grown[0], sum_up((grown[1], at_zero)))
        passed = _through(rule, norm, errors)
        entries = max(math.prod(shape) for shape in graph.input_shapes(node))
        loss, gain = arithmetic(node, rule, norm, entries)
        if loss:
            slopes, offsets = zip(*sizes, *errors, strict=True)  # of what is read, as computed
            most = product_up((gain, sum_up(slopes))), sum_up((product_up((gain, sum_up(offsets))), at_zero))
            reach = max(reach[0], most[0]), max(reach[1], most[1])
            own = product_up((loss, most[0])), sum_up((product_up((loss, most[1])), UNDERFLOW))
            passed = (sum_up((passed[0], own[0])), sum_up((passed[1], own[1])))
        if isinstance(rule, Slope) and rule.loss:
            made = math.prod(graph.shapes[node.output])
            passed = (passed[0], sum_up((passed[1], product_up((up(math.sqrt(made)), rule.loss)))))
        error[node.output] = passed
    return ForwardError(*error[graph.output], reach)


def _through(rule: Rule, norm: NormBound, inputs: Sequence[Affine]) -> Affine:
    """Composition is monotone, homogeneous and subadditive, so each coefficient may go through on its own."""
    slope, offset = (compose(rule, norm.upper, part) for part in zip(*inputs, strict=True))
    return slope, offset


def arithmetic(node: Node, rule: Rule, norm: NormBound, entries: int) -> tuple[float, Upper]:
    """``(loss, gain)``: computing the node errs by at most ``loss (gain ||inputs|| + ||op(0)||)``.

    Args:
        entries: of an input a sample.
    """
    if node.operator.exact:
        return 0.0, Upper(0.0)
    match rule:
        case Dense(weight=weight):
            return gamma(weight.shape[1] + 4), _frobenius(weight)
        case Matrices(weight=weight):
            return gamma(weight.shape[2] + 4), max(_frobenius(matrix) for matrix in weight)
        case Convolution(weight=weight):
            taps = as_float64(weight).reshape(*weight.shape[:2], -1)
            # |K| is a sum of shifts, each times the matrix of one tap
            return gamma(max(weight.shape[:2]) * taps.shape[2] + 4), sum_up(
                _frobenius(taps[:, :, t]) for t in range(taps.shape[2])
            )
        case Sum():
            return gamma(len(rule.coefficients) + 8), norm.upper
        case Slope(interval=None):
            sums = 4 * gamma(entries + 16)  # 4: a variance is a mean of squares about a mean
            return max(ELEMENTARY, sums), norm.upper
        case _:
            return ELEMENTARY, norm.upper


def _frobenius(matrix: np.ndarray) -> Upper:
    array, exponent = scaled(as_float64(matrix))
    return ldexp_up(up(float(np.linalg.norm(array)) * (1 + gamma(matrix.size + 8))), exponent)


def _norm_at_zero(graph: Graph, node: Node) -> Upper:
    """``||op(0)||``: the bias, as the operator itself applies it."""
    operator = node.operator
    if operator.zero_at_zero:
        return Upper(0.0)
    if operator.adds is not None:
        bias = as_float64(operator.arrays().get(operator.adds, np.zeros(1)))
        copies = math.prod(graph.shapes[node.output]) / bias.size
        largest, exponent = scaled(bias)
        return ldexp_up(up(float(np.linalg.norm(largest)) * math.sqrt(copies) * (1 + ELEMENTARY)), exponent)
    return _run_at_zero(graph, node)


def _run_at_zero(graph: Graph, node: Node) -> Upper:
    """``||op(0)||`` by the operator, which takes torch."""
    import torch

    zeros = [torch.zeros((1, *shape), dtype=torch.float64) for shape in graph.input_shapes(node)]
    arrays = {
        # as `to_module` holds them: floats in the module's dtype
        name: torch.from_numpy(np.array(array, dtype=np.float64 if array.dtype.kind == "f" else array.dtype))
        for name, array in node.operator.arrays().items()
    }
    output = node.operator.run(zeros, arrays)
    return up(float(torch.linalg.vector_norm(output)) * (1 + ELEMENTARY))
