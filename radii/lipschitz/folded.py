"""The norm of several linear nodes in a row, taken of all of them at once."""

import math

import numpy as np
import numpy.typing as npt

from radii.graph import Node
from radii.graph.rules import Convolution
from radii.lipschitz.conv import conv_norm
from radii.lipschitz.linear import NotApplicable, Piece, explicit, per_channel
from radii.lipschitz.matrix import matrix_norm
from radii.lipschitz.rounding import UNIT, Upper, as_float64, gamma, sum_up, up

MODES = {"constant": "zeros", "wrap": "circular", "reflect": "reflect", "edge": "replicate"}


def folded_norm(piece: Piece, rtol: float) -> Upper:
    """The Lipschitz constant of a piece. Raises `NotApplicable`."""
    if any(isinstance(rule, Convolution) for rule in piece.rules):
        try:
            return _convolution(piece, rtol)
        except NotApplicable:
            pass
    matrix, error = explicit(piece)
    return sum_up((matrix_norm(matrix, rtol=rtol).upper, error))


def _convolution(piece: Piece, rtol: float) -> Upper:
    """Factors of channels, padding, one convolution, factors of channels: one convolution."""
    (place, *others) = [i for i, rule in enumerate(piece.rules) if isinstance(rule, Convolution)]
    if others:
        raise NotApplicable("there are several convolutions")
    rule = piece.rules[place]
    assert isinstance(rule, Convolution)
    channels, size = piece.input_shape[0], piece.input_shape[1:]
    before, after = np.ones(channels), np.ones(piece.output_shape[0])
    mode, padding = "zeros", rule.padding
    for i, node in enumerate(piece.nodes):
        if i == place:
            continue
        if node.operator.name == "Pad" and i < place:
            if mode != "zeros" or padding != rule.padding or rule.transposed:
                raise NotApplicable("it is padded twice")
            mode, padding = _padded(node, rule)
            continue
        factor = per_channel(piece.graph, node)
        if factor is None:
            raise NotApplicable(f"{node.operator.name} is no factor of each channel")
        if i < place:
            before = before * factor
        else:
            after = after * factor
    weight = as_float64(rule.weight)
    # the first axis counts outputs; of a transposed convolution, inputs
    rows, columns = (before, after) if rule.transposed else (after, before)
    grouped = weight.reshape(rule.groups, -1, *weight.shape[1:])
    grouped = grouped * _column(rows.reshape(rule.groups, -1, 1), weight.ndim)
    grouped = grouped * _column(columns.reshape(rule.groups, 1, -1), weight.ndim)
    bound = conv_norm(
        grouped.reshape(weight.shape),
        size,
        stride=rule.stride,
        padding=padding,
        dilation=rule.dilation,
        groups=rule.groups,
        padding_mode=mode,
        transposed=rule.transposed,
        output_padding=rule.output_padding or 0,
        rtol=rtol,
    ).upper
    # each factor is rounded, and the convolution of the errors' moduli is a sum of shifts, one a tap
    taps = np.linalg.norm(grouped.reshape(-1, math.prod(weight.shape[2:])), axis=0)
    # other padding copies a pixel at most as often as there are pads
    copies = math.prod(1 + low + high for low, high in padding) if mode != "zeros" else 1
    lost = 4 * (len(piece.nodes) + 1) * UNIT * float(taps.sum()) * (1 + gamma(weight.size + 16)) * copies
    return sum_up((bound, up(lost)))


def _column(factors: npt.NDArray[np.float64], axes: int) -> npt.NDArray[np.float64]:
    return factors.reshape(*factors.shape, *[1] * (axes - 2))


def _padded(node: Node, rule: Convolution) -> tuple[str, tuple[tuple[int, int], ...]]:
    settings = node.operator.settings()
    pads, mode = [tuple(pair) for pair in settings["pads"]], MODES[settings["mode"]]
    if any(pads[0]) or any(low < 0 or high < 0 for low, high in pads):
        raise NotApplicable("Pad does not pad pixels only")
    own = rule.padding
    if mode != "zeros" and any(low or high for low, high in own):
        raise NotApplicable("the convolution pads with zeros what was padded otherwise")
    return mode, tuple((a + c, b + d) for (a, b), (c, d) in zip(pads[1:], own, strict=True))
