"""The spectral norm of a convolution layer, as a pair of proved bounds. No convolution kernel runs here.

A layer whose matrix is small is bounded as that matrix. Any other is a piece of a circular operator on a torus
(:meth:`radii.lipschitz.geometry.Axis.torus`), which Fourier turns into blocks: the largest norm among them bounds it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radii.lipschitz.cells import Grid, Largest, Search
from radii.lipschitz.geometry import Axis, Padding, axes
from radii.lipschitz.matrix import ZERO, NormBound, check_rtol, gram_bound
from radii.lipschitz.peaks import Peak, foreseen, peaks
from radii.lipschitz.rounding import (
    Lower,
    Upper,
    as_float64,
    certified_arithmetic,
    down,
    gamma,
    ldexp_down,
    ldexp_up,
    product_up,
    scaled,
    up,
)
from radii.lipschitz.symbol import Symbol, polyphase, symbol
from radii.lipschitz.witness import wave_norm

Array = npt.NDArray[np.float64]

EXPLICIT_WORK = 2**30  # multiply-adds for the Gram matrix of an explicit layer: a tenth of a second
EXPLICIT_WORK_IF_LOOSE = 2**33  # about a second, where the torus turns out loose
LOOSE = 1.02
EXPLICIT_ENTRIES = 2**24  # 128 MiB
MORE_SIZES = 3  # of tori looked at per axis, each twisted and not
TWISTED_UP_TO = 64  # times the degree: on larger tori it matters less than 0.1 %
TRIES = 3  # grids verified, at most
GAIN = 0.99  # of the largest eigenvalue: what a further grid must promise


def conv_norm(
    weight: npt.ArrayLike | torch.Tensor,
    input_size: int | Sequence[int] | None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
    rtol: float = 1e-6,
) -> NormBound:
    """The spectral norm of a 1-, 2- or 3-d convolution layer on inputs of a given size, proved from above.

    Args:
        weight: (out, in/groups, *kernel); transposed: (in, out/groups, *kernel), as in PyTorch.
        input_size: pixels per axis of the layer's input; None: the bound holds for inputs of any size, all at once.
        padding: one number, one per axis, or one (low, high) pair per axis; of a transposed layer, what is cropped.
        padding_mode: ``zeros``, ``circular``, ``reflect`` or ``replicate``.
        rtol: relative accuracy of the eigenvalue work. A small layer (``method == "cholesky"``) and a circular one
            whose stride divides its size are bounded that tightly; any other as tightly as its torus.

    Raises:
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: the numbers describe no layer.

    Gram iteration on Fourier blocks: Delattre et al., ICML 2023, arXiv 2305.16173; zero padding: arXiv 2402.00240.
    """
    kernel = as_float64(weight)
    if not 3 <= kernel.ndim <= 5:
        raise ValueError(f"a convolution's weight has 3 to 5 axes, this has shape {kernel.shape}")
    if 0 in kernel.shape:
        raise ValueError(f"an axis of the weight is empty: {kernel.shape}")
    if groups < 1 or kernel.shape[0] % groups:
        raise ValueError(f"{groups} groups do not divide {kernel.shape[0]} channels")
    check_rtol(rtol)
    layer = axes(
        kernel.shape[2:],
        input_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        padding_mode=padding_mode,
        transposed=transposed,
        output_padding=output_padding,
    )
    kernel, exponent = scaled(kernel)
    if not kernel.any():
        return ZERO
    grouped = kernel.reshape(groups, kernel.shape[0] // groups, *kernel.shape[1:])
    any_size = input_size is None
    work = math.inf if any_size else _explicit_work(grouped, layer)
    bound = None if work <= EXPLICIT_WORK else _fourier_bound(grouped, layer, rtol, any_size=any_size)
    if bound is None or (bound.upper > LOOSE * bound.lower and work <= EXPLICIT_WORK_IF_LOOSE):
        bound = _explicit_bound(grouped, layer, rtol)
    return replace(bound, upper=ldexp_up(bound.upper, exponent), lower=ldexp_down(bound.lower, exponent))


def explicit_matrices(kernel: Array, layer: Sequence[Axis]) -> Array:
    """The layer's matrix for each group: (groups, out * outputs, in * pixels), from (groups, out, in, *kernel)."""
    groups, out, inner = kernel.shape[:3]
    outputs, pixels = [axis.outputs for axis in layer], [axis.size for axis in layer]
    matrix = np.zeros((groups, out, *outputs, inner, *pixels))
    sources = [axis.sources() for axis in layer]
    for tap in np.ndindex(*kernel.shape[3:]):
        columns = [source[:, t] for source, t in zip(sources, tap, strict=True)]
        rows = np.ix_(*(np.flatnonzero(column >= 0) for column in columns))
        reads = np.ix_(*(column[column >= 0] for column in columns))
        here: tuple[Any, ...] = (slice(None), slice(None), *rows, slice(None), *reads)
        matrix[here] += kernel[:, :, :, *tap]
    return matrix.reshape(groups, out * math.prod(outputs), inner * math.prod(pixels))


def _explicit_work(kernel: Array, layer: Sequence[Axis]) -> float:
    """Multiply-adds of the explicit layer's Gram matrix; infinite if it takes too much memory."""
    groups, out, inner = kernel.shape[:3]
    rows = out * math.prod(axis.outputs for axis in layer)
    columns = inner * math.prod(axis.size for axis in layer)
    return groups * rows * columns * min(rows, columns) if groups * rows * columns <= EXPLICIT_ENTRIES else math.inf


def _explicit_bound(kernel: Array, layer: Sequence[Axis], rtol: float) -> NormBound:
    error = 0.0
    if any(axis.mode != "zeros" for axis in layer):  # taps may meet on one pixel, and their sum is rounded
        magnitudes = float(np.linalg.norm(explicit_matrices(np.abs(kernel), layer)))
        error = up(gamma(kernel[0, 0, 0].size + 4) * magnitudes * (1 + 1e-6))
    return gram_bound(explicit_matrices(kernel, layer), rtol, error=error)


@certified_arithmetic()
def _fourier_bound(kernel: Array, layer: Sequence[Axis], rtol: float, *, any_size: bool) -> NormBound:
    stretched, units = polyphase(kernel, layer)
    least, repeats = zip(*(axis.torus() for axis in layer), strict=True)
    if any_size:
        repeats = tuple(axis.most_repeats for axis in layer)
    spread = product_up(up(math.sqrt(q)) if q > 1 else 1.0 for q in repeats)
    exact = all(axis.wraps and axis.outputs * axis.stride == axis.size for axis in layer)  # the layer is the operator
    if stretched[0, 0, 0].size == 1:  # all frequencies are the same
        bound = gram_bound(stretched.reshape(stretched.shape[:3]), rtol)
        lower = bound.lower if exact or all(axis.inside() for axis in layer) else Lower(0.0)
        torus = None if any_size else tuple(axis.stride * m for axis, m in zip(layer, least, strict=True))
        method = "cells" if any_size else "torus"
        return replace(bound, upper=product_up((bound.upper, spread)), lower=lower, method=method, torus=torus)
    gram = symbol(stretched)
    found = peaks(gram, accurate=any_size)
    turns = [float(t) / unit for t, unit in zip(found[0].turns, units, strict=True)]
    lower = wave_norm(stretched[found[0].group], units, layer, turns)
    if any_size:
        return _anywhere(gram, found, spread, lower, rtol)
    grid, largest, tests = _on_torus(gram, found, _grids(gram, units, layer, least), rtol)
    if exact:
        lower = max(lower, down(math.sqrt(max(0.0, largest.found))))
    torus = tuple(
        axis.stride * (m if axis.wraps or degree == 0 else unit * size)
        for axis, m, unit, size, degree in zip(layer, least, units, grid.sizes, gram.degree, strict=True)
    )
    upper = product_up((up(math.sqrt(largest.grid)), spread))
    return NormBound(upper, lower, "torus", tests, largest.slack / 2, torus)


def _on_torus(gram: Symbol, found: Sequence[Peak], grids: Sequence[Grid], rtol: float) -> tuple[Grid, Largest, int]:
    """The least of the bounds on some of the grids, those first of which most is to be hoped."""
    hopes = [foreseen(found, grid.sizes, grid.twists) for grid in grids]
    best: tuple[Grid, Largest] | None = None
    tests = 0
    for hope, grid in sorted(zip(hopes, grids, strict=True), key=lambda pair: pair[0].value)[:TRIES]:
        beyond = best[1].grid if best else math.inf
        if hope.value > GAIN * beyond:
            break
        search = Search(gram, grid, start=hope, rtol=rtol / 4, beyond=beyond)
        largest = search.run()
        tests += search.tests
        if largest is not None and largest.grid < beyond:
            best = grid, largest
    assert best is not None  # nothing is beyond infinity
    return *best, tests


def _anywhere(gram: Symbol, found: Sequence[Peak], spread: Upper, lower: Lower, rtol: float) -> NormBound:
    """The bound over all frequencies: a grid so fine that its bound hardly differs."""
    width = math.sqrt(rtol / 2) / len(gram.degree)  # of a cell of one point: it costs a factor of 1/cos
    sizes = tuple(2 ** math.ceil(math.log2(d * math.pi / (2 * width))) if d else 1 for d in gram.degree)
    grid = Grid(sizes, (0,) * len(sizes))
    largest = Search(gram, grid, start=found[0], rtol=rtol / 2).run()
    assert largest is not None  # nothing is beyond infinity
    upper = product_up((up(math.sqrt(largest.anywhere)), spread))
    return NormBound(upper, lower, "cells", largest.tests, largest.slack / 2)


def _grids(gram: Symbol, units: Sequence[int], layer: Sequence[Axis], least: Sequence[int]) -> list[Grid]:
    """The grids of tori that hold the layer: the least, some larger, and twisted ones.

    On a twisted torus, what leaves on one side enters on the other times -1. A layer within one does not see it, and
    the frequencies lie between the others: those that stay clear of the symbol's maximum bound it best.
    """
    choices = []
    for axis, unit, degree, m in zip(layer, units, gram.degree, least, strict=True):
        if degree == 0:
            choices.append([(1, 0)])
        elif axis.wraps:
            choices.append([(m // math.gcd(unit, m), 0)])
        else:
            size = -(-m // unit)
            wide = size <= TWISTED_UP_TO * degree
            choices.append([(size + more, half) for more in range(MORE_SIZES if wide else 1) for half in (0, 1)])
    return [Grid(*map(tuple, zip(*choice, strict=True))) for choice in itertools.product(*choices)]
