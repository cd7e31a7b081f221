"""The matrix of a linear piece. Its ``error`` bounds the spectral norm of what the numbers miss.
Formulas: docs/numerics.md 3.2.
"""

from __future__ import annotations

import math

import numpy as np

from radii.graph import Graph, Node
from radii.graph.rules import Convolution, Dense
from radii.lipschitz.convolution.conv import explicit_matrices
from radii.lipschitz.convolution.geometry import axes
from radii.lipschitz.network.forward import arithmetic
from radii.lipschitz.network.linear import Array, NotApplicable, Piece, run, transposed
from radii.lipschitz.rounding import UNIT, as_float64, gamma, product_up, sum_up, up

MOST_ENTRIES = 2**22  # of an explicit matrix: 32 MiB
RELATIVE = 2.0**-36  # what an operator's own arithmetic may lose, as in `radii.lipschitz.network.forward`


def explicit(piece: Piece) -> tuple[Array, float]:
    """The matrix (outputs, inputs), row-major activations, and its error. Raises `NotApplicable` if it is large."""
    inputs, start = math.prod(piece.input_shape), 0
    diagonal = np.ones((1, *piece.input_shape))
    while start < len(piece.nodes) and _keeps_entries(piece.graph, piece.nodes[start]):
        diagonal = run(piece.nodes[start], diagonal)
        start += 1
    sizes = [math.prod(piece.graph.shapes[node.output]) for node in piece.nodes[start:]]
    first = piece.rules[start] if start < len(piece.nodes) else None
    fits = isinstance(first, Dense) and first.weight.shape[1] == inputs
    if fits and len(sizes) == 1:  # no larger than what the file holds
        sizes = []
    if inputs * max([0 if fits else inputs, *sizes]) > MOST_ENTRIES:
        return _from_outputs(piece)
    loss = start * 4 * UNIT
    if isinstance(first, Dense) and fits:
        basis = as_float64(first.weight).T * diagonal.reshape(-1, 1)
        basis = basis.reshape(inputs, *piece.graph.shapes[piece.nodes[start].output])
        start += 1
    else:
        basis = np.diag(diagonal.reshape(-1)).reshape(inputs, *diagonal.shape[1:])
    error = up(loss * _norm(basis))
    exact = start == 0  # basis is the identity
    for node, rule, norm in zip(piece.nodes[start:], piece.rules[start:], piece.norms[start:], strict=True):
        size = _norm(basis)
        if isinstance(rule, Dense):
            weight = as_float64(rule.weight)
            basis = basis @ weight.T
            loss = 0.0 if exact else gamma(weight.shape[1] + 4) * _norm(weight) * size
        elif isinstance(rule, Convolution):
            matrix = _convolution(rule)
            grouped = basis.reshape(inputs, len(matrix), -1).swapaxes(0, 1)
            made = (grouped @ matrix.swapaxes(1, 2)).swapaxes(0, 1)
            basis = made.reshape(inputs, *piece.graph.shapes[node.output])
            loss = 0.0 if exact else gamma(matrix.shape[2] + 4) * _norm(matrix) * size
        else:
            basis = run(node, basis)
            loss = 0.0 if node.operator.exact else RELATIVE * norm.upper * size
        exact = False
        error = sum_up((product_up((norm.upper, error)), up(up(loss))))
    return np.ascontiguousarray(basis.reshape(inputs, -1).T), error


def _from_outputs(piece: Piece) -> tuple[Array, float]:
    """The same by its rows, where few outputs are made of many inputs. Raises `NotApplicable` if it is too large."""
    outputs = math.prod(piece.output_shape)
    sizes = [math.prod(piece.graph.shapes[name]) for node in piece.nodes for name in (*node.inputs, node.output)]
    if outputs * max(sizes) > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    rows, error = np.eye(outputs).reshape(outputs, *piece.output_shape), 0.0
    for node, rule, norm in zip(piece.nodes[::-1], piece.rules[::-1], piece.norms[::-1], strict=True):
        entries = max(math.prod(shape) for shape in piece.graph.input_shapes(node))
        loss, gain = arithmetic(node, rule, norm, entries)
        if isinstance(rule, Dense):  # whose transpose has sums of another length
            loss = gamma(max(rule.weight.shape) + 4)
        elif node.operator.exact:  # copies, whose transpose adds
            loss, gain = RELATIVE, norm.upper
        error = sum_up((product_up((norm.upper, error)), product_up((loss, gain, _norm(rows)))))
        rows = rows @ as_float64(rule.weight) if isinstance(rule, Dense) else transposed(node, rows, piece.graph)
    return np.ascontiguousarray(rows.reshape(outputs, -1)), error


def _keeps_entries(graph: Graph, node: Node) -> bool:
    """Whether it multiplies every entry by a number, and leaves it in its place."""
    same = graph.shapes[node.inputs[0]] == graph.shapes[node.output]
    return node.operator.keeps_order or (same and node.operator.diagonal)


def _norm(array: Array) -> float:
    """The Frobenius norm, rounded up."""
    return up(float(np.linalg.norm(array)) * (1 + gamma(array.size + 16)))


def _convolution(rule: Convolution) -> Array:
    """(groups, outputs, inputs) of a convolution with zero padding."""
    kernel = as_float64(rule.weight)
    layer = axes(
        kernel.shape[2:],
        rule.input_size,
        stride=rule.stride,
        padding=rule.padding,
        dilation=rule.dilation,
        padding_mode="zeros",
        transposed=rule.transposed,
        output_padding=rule.output_padding or 0,
    )
    grouped = kernel.reshape(rule.groups, kernel.shape[0] // rule.groups, *kernel.shape[1:])
    entries = kernel.shape[0] * kernel.shape[1] * math.prod(axis.outputs * axis.size for axis in layer)
    if entries > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    matrix = explicit_matrices(grouped, layer)
    return matrix.swapaxes(1, 2) if rule.transposed else matrix
