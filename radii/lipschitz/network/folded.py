"""The norm of several linear nodes in a row, taken of all of them at once. Formulas: docs/numerics.md 3.2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from radii.graph.rules import Convolution
from radii.lipschitz.convolution.conv import conv_norm
from radii.lipschitz.convolution.geometry import Axis, PaddingMode
from radii.lipschitz.dense.matrix import gram_work, matrix_norm
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.explicit import explicit
from radii.lipschitz.network.linear import NotApplicable, Piece, per_channel, run
from radii.lipschitz.rounding import UNIT, Upper, as_float64, gamma, sum_up, up

Pixels = npt.NDArray[np.intp]


def folded_norm(piece: Piece, rtol: float, effort: Effort) -> Upper:
    """The Lipschitz constant of a piece. Raises `NotApplicable`, or `TooMuchWork`."""
    if any(isinstance(rule, Convolution) for rule in piece.rules):
        try:
            return _convolution(piece, rtol, effort)
        except NotApplicable:
            pass
    matrix, error = explicit(piece)
    effort.spend(gram_work(matrix.shape))
    return sum_up((matrix_norm(matrix, rtol=rtol).upper, error))


def _convolution(piece: Piece, rtol: float, effort: Effort) -> Upper:
    """Factors of channels, copies of pixels, one convolution, factors of channels: one convolution."""
    (place, *others) = [i for i, rule in enumerate(piece.rules) if isinstance(rule, Convolution)]
    if others:
        raise NotApplicable("there are several convolutions")
    rule = piece.rules[place]
    assert isinstance(rule, Convolution)
    channels, size = piece.input_shape[0], piece.input_shape[1:]
    before, after = np.ones(channels), np.ones(piece.output_shape[0])
    places = np.arange(1.0, math.prod(piece.input_shape) + 1).reshape(1, channels, *size)
    for i, node in enumerate(piece.nodes):
        if i == place:
            continue
        factor = per_channel(piece.graph, node)
        if factor is not None and i < place:
            _sources(places, piece.input_shape)  # channels stand where they stood
            before = before * factor
        elif factor is not None:
            after = after * factor
        elif i < place and node.operator.exact:
            places = run(node, places)
        else:
            raise NotApplicable(f"{node.operator.name} is no factor of each channel")
    mode, padding = _padding(_sources(places, piece.input_shape), size, rule)
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
        spend=effort.spend,
    ).upper
    # each factor is rounded, and the convolution of the errors' moduli is a sum of shifts, one a tap
    taps = np.linalg.norm(grouped.reshape(-1, math.prod(weight.shape[2:])), axis=0)
    # other padding copies a pixel at most as often as there are pads
    copies = math.prod(1 + low + high for low, high in padding) if mode != "zeros" else 1
    lost = 4 * (len(piece.nodes) + 1) * UNIT * float(taps.sum()) * (1 + gamma(weight.size + 16)) * copies
    return sum_up((bound, up(lost)))


def _column(factors: npt.NDArray[np.float64], axes: int) -> npt.NDArray[np.float64]:
    return factors.reshape(*factors.shape, *[1] * (axes - 2))


def _sources(places: npt.NDArray[np.float64], shape: tuple[int, ...]) -> list[Pixels]:
    """Per axis of pixels, the one of the input that each row or column copies, -1 for zeros.

    Args:
        places: (1, channels, *size): one more than where in the flattened input each entry comes from; 0: nowhere.
        shape: of the input.

    Raises `NotApplicable` where it moves more than rows and columns.
    """
    index = places[0].astype(np.intp) - 1
    if index.ndim == len(shape):
        coordinates = [np.where(index < 0, -1, along) for along in np.unravel_index(np.maximum(index, 0), shape)]
        sources = [np.moveaxis(along, a, 0).reshape(index.shape[a], -1).max(1) for a, along in enumerate(coordinates)]
        mesh = np.broadcast_arrays(*np.ix_(np.arange(shape[0]), *sources[1:]))
        expected = np.ravel_multi_index([np.maximum(along, 0) for along in mesh], shape)
        if np.array_equal(np.where(np.minimum.reduce(mesh) < 0, -1, expected), index):
            return sources[1:]
    raise NotApplicable("more than rows and columns of pixels are moved in front of its convolution")


def _padding(
    sources: Sequence[Pixels], size: tuple[int, ...], rule: Convolution
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """What a convolution's own padding and these copies of pixels are together. Raises `NotApplicable`."""
    if rule.transposed:  # what it is said to be padded with is cut off
        if all(np.array_equal(along, np.arange(n)) for along, n in zip(sources, size, strict=True)):
            return "zeros", rule.padding
        raise NotApplicable("pixels are moved in front of a transposed convolution")
    read = [np.pad(along, own, constant_values=-1) for along, own in zip(sources, rule.padding, strict=True)]
    for mode in get_args(PaddingMode):
        widths = [_widths(along, n, mode) for along, n in zip(read, size, strict=True)]
        padding = tuple(pair for pair in widths if pair is not None)
        if len(padding) == len(widths):
            return mode, padding
    raise NotApplicable("pixels are moved in front of its convolution in a way that is no padding")


def _widths(along: Pixels, size: int, mode: PaddingMode) -> tuple[int, int] | None:
    """The (low, high) with which padding of this mode makes these of ``size`` pixels; None: it does not."""
    for low in np.flatnonzero(along == 0).tolist():
        if np.array_equal(along[low : low + size], np.arange(size)):
            high = len(along) - size - low
            fits = max(low, high) <= {"circular": size, "reflect": size - 1}.get(mode, len(along))
            padded = Axis(size, 1, len(along), 1, 1, low, high, mode)
            return (low, high) if fits and np.array_equal(padded.padded(), along) else None
    return None
