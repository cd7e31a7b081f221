"""A Lipschitz constant for each difference of two logits, where the network ends in a dense layer, or joins them.
Formulas: docs/numerics.md 3.7.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from radii.graph import Graph, Node
from radii.graph.rules import Concat, Dense, Rule, Sum
from radii.lipschitz.network.compose import SQRT2
from radii.lipschitz.rounding import UNIT, Upper, as_float64, gamma, product_up, scaled, up

MOST_CLASSES = 2048  # the matrix of pairs grows as its square: 32 MiB
NEAR = 2.0**-36  # a square of a distance must not lose this part of itself
TINY = 2.0**-600  # of a square: below it lie underflows


def pairwise_constants(
    graph: Graph, rules: Sequence[Rule], constants: Mapping[str, Upper], cap: float
) -> npt.NDArray[np.float64] | None:
    """(K, K) upper bounds ``||w_y - w_j|| L_features``, at most ``cap``; None if the last layer is not dense. Of logits
    that several activations are joined to (0 and the one of a binary classifier, say): ``L_y + L_j``.

    Behind that, biases, scalar multiples of the form of a :class:`Sum` and changes of shape are followed; anything
    else ends the search, since it mixes or bends the logits.

    Args:
        constants: a Lipschitz constant of every activation with respect to the network's input.
        cap: what holds for every pair anyway.
    """
    if graph.num_classes > MOST_CLASSES:
        return None
    producers = {node.output: (node, rule) for node, rule in zip(graph.nodes, rules, strict=True)}
    name, scale = graph.output, Upper(1.0)
    while name in producers:
        node, rule = producers[name]
        match rule:
            case Dense(weight=weight) if len(weight) == graph.num_classes:
                factor = product_up((scale, constants[node.inputs[0]]))
                return np.minimum(distances(weight, factor), cap)
            case Concat() if node.operator.copies and graph.shapes[name] == (graph.num_classes,):
                return np.minimum(_joined(graph, node, constants, scale), cap)
            case Sum(coefficients=(coefficient,), exact=True):
                scale = product_up((scale, abs(coefficient)))
            case _ if node.operator.keeps_order:
                pass
            case _:
                return None
        (name,) = node.inputs
        if graph.shapes[name] != (graph.num_classes,):
            return None
    return None


def _joined(graph: Graph, node: Node, constants: Mapping[str, Upper], scale: Upper) -> npt.NDArray[np.float64]:
    """(K, K) constants of differences of entries of the activations that ``node`` joins, times ``scale``."""
    sizes = [graph.shapes[name][0] for name in node.inputs]
    parts = np.repeat(np.arange(len(sizes)), sizes)
    each = np.array([constants[name] for name in node.inputs])[parts]
    together = np.array([product_up((SQRT2, constants[name])) for name in node.inputs])[parts]
    pairs = np.where(parts[:, np.newaxis] == parts, together, np.nextafter(each[:, np.newaxis] + each, np.inf))
    pairs[np.diag_indices_from(pairs)] = 0
    return np.where(pairs > 0, np.nextafter(pairs * scale, np.inf), 0.0)


def distances(weight: npt.NDArray[np.floating], factor: float) -> npt.NDArray[np.float64]:
    """(K, K) Euclidean distances between the rows of a matrix (K, features) times ``factor``, rounded up."""
    rows, exponent = scaled(as_float64(weight))
    _, labels = np.unique(rows, axis=0, return_inverse=True)
    own = np.square(rows).sum(axis=1)
    both = own[:, np.newaxis] + own
    squares = both - 2 * (rows @ rows.T)
    lost = 4 * gamma(rows.shape[1] + 8) * both
    norms = np.sqrt(np.maximum(squares + lost, 0.0)) * (1 + 4 * UNIT)
    # of near rows their difference tells more
    for y, near in enumerate(~((lost < NEAR * squares) & (squares > TINY))):
        norms[y, near] = np.linalg.norm(rows[near] - rows[y], axis=1)
    norms += 2.0**-400  # more than the squares of tiny differences can lose by underflow
    mantissa, power = math.frexp(factor)  # a small factor times a small distance must not underflow before it is scaled
    bounds = np.ldexp(norms * up(mantissa * (1 + gamma(rows.shape[1] + 16))), exponent + power)
    return np.where(labels[:, np.newaxis] == labels, 0.0, np.nextafter(np.nextafter(bounds, np.inf), np.inf))
