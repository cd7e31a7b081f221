"""The spectral norm of a convolution layer, as a pair of proved bounds. No convolution kernel runs here.

A layer whose matrix is small is bounded as that matrix. Any other is a piece of a circular operator on a torus
(:meth:`radii.lipschitz.convolution.geometry.Axis.torus`), which Fourier turns into blocks: the largest norm among them
bounds it. Formulas: docs/numerics.md 2.3, 2.4 and 2.5.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from radii.lipschitz.convolution.cells import Grid
from radii.lipschitz.convolution.geometry import Axis, Padding, axes
from radii.lipschitz.convolution.iterated import iterate
from radii.lipschitz.convolution.peaks import Peak, foreseen, peaks, peaks_work
from radii.lipschitz.convolution.search import MOST_CELLS, Largest, Search, search_tests
from radii.lipschitz.convolution.symbol import Symbol, block_work, polyphase, symbol, symbol_work
from radii.lipschitz.convolution.witness import wave_norm
from radii.lipschitz.dense.matrix import ZERO, Method, NormBound, check_rtol, gram_bound, gram_work, matrix_norm
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
    sum_up,
    up,
)
from radii.lipschitz.work import Spend, TooMuchWork, unlimited

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]

EXPLICIT_WORK = 2**30  # multiply-adds for the Gram matrix of an explicit layer: a tenth of a second
EXPLICIT_WORK_IF_LOOSE = 2**33  # about a second, where the torus turns out loose
LOOSE = 1.02
EXPLICIT_ENTRIES = 2**24  # 128 MiB
MORE_SIZES = 3  # of tori looked at along each of up to two axes, twisted and not
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
    method: str = "auto",
    spend: Spend = unlimited,
) -> NormBound:
    """The spectral norm of a 1-, 2- or 3-d convolution layer on inputs of a given size, proved from above.

    Args:
        weight: (out, in/groups, *kernel); transposed: (in, out/groups, *kernel), as in PyTorch.
        input_size: pixels per axis of the layer's input; None: the bound holds for inputs of any size, all at once.
        padding: one number, one per axis, or one (low, high) pair per axis; of a transposed layer, what is cropped.
        padding_mode: ``zeros``, ``circular``, ``reflect`` or ``replicate``.
        rtol: relative accuracy of the eigenvalue work. A small layer (``method == "cholesky"``) and a circular one
            whose stride divides its size are bounded that tightly; any other as tightly as its torus.
        method: ``cholesky``: a factorisation verifies each estimate; ``gram``: Gram iteration; ``auto``: the former,
            which takes less work.
        spend: told of the multiply-adds before they are done; what it raises ends the search.

    Raises:
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: the numbers describe no layer, or there is no such method.

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
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
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
    bound = None if work <= EXPLICIT_WORK else _fourier_bound(grouped, layer, rtol, method, spend, any_size=any_size)
    if bound is None or (bound.upper > LOOSE * bound.lower and work <= EXPLICIT_WORK_IF_LOOSE):
        try:
            spend(int(work), optional=bound is not None)
            bound = _explicit_bound(grouped, layer, rtol, method)
        except TooMuchWork:
            if bound is None:
                raise
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


def _explicit_bound(kernel: Array, layer: Sequence[Axis], rtol: float, method: str) -> NormBound:
    error = 0.0
    if any(axis.mode != "zeros" for axis in layer):  # taps may meet on one pixel, and their sum is rounded
        magnitudes = float(np.linalg.norm(explicit_matrices(np.abs(kernel), layer)))
        error = up(gamma(kernel[0, 0, 0].size + 4) * magnitudes * (1 + 1e-6))
    return _largest_matrix(explicit_matrices(kernel, layer), rtol, method, error)


def _largest_matrix(matrices: Array, rtol: float, method: str, error: float = 0.0) -> NormBound:
    if method != "gram":
        return gram_bound(matrices, rtol, error=error)
    bounds = [matrix_norm(matrix, rtol=rtol, method=method) for matrix in matrices]
    bound = max(bounds, key=lambda bound: bound.upper)
    lower = Lower(max(0.0, down(max(bound.lower for bound in bounds) - error)))
    return replace(bound, upper=sum_up((bound.upper, error)) if error else bound.upper, lower=lower, method=method)


@certified_arithmetic()
def _fourier_bound(
    kernel: Array, layer: Sequence[Axis], rtol: float, method: str, spend: Spend, *, any_size: bool
) -> NormBound:
    stretched, units = polyphase(kernel, layer)
    least, repeats = zip(*(axis.torus() for axis in layer), strict=True)
    if any_size:
        repeats = tuple(axis.most_repeats for axis in layer)
    spread = product_up(up(math.sqrt(q)) if q > 1 else 1.0 for q in repeats)
    exact = all(axis.wraps and axis.outputs * axis.stride == axis.size for axis in layer)  # the layer is the operator
    if stretched[0, 0, 0].size == 1:  # all frequencies are the same
        spend(gram_work(stretched.shape[:3]))
        bound = _largest_matrix(stretched.reshape(stretched.shape[:3]), rtol, method)
        lower = bound.lower if exact or all(axis.inside() for axis in layer) else Lower(0.0)
        torus = None if any_size else tuple(axis.stride * m for axis, m in zip(layer, least, strict=True))
        method = method if method == "gram" else "cells" if any_size else "torus"
        return replace(bound, upper=product_up((bound.upper, spread)), lower=lower, method=method, torus=torus)
    points = math.prod(least) if not any_size else MOST_CELLS
    more = search_tests(points * len(stretched)) * block_work(stretched)
    spend(symbol_work(stretched) + peaks_work(stretched), more)
    gram = symbol(stretched)
    found = peaks(gram, accurate=any_size)
    if any_size:
        largest = _on_grid(gram, _fine(gram.degree, rtol, method), found[0], rtol, method, spend)
        bound = _root(largest.anywhere, largest, "cells", method)
    else:
        grid, largest = _on_best_grid(gram, _grids(gram, units, layer, least), found, rtol, method, spend)
        torus = tuple(
            axis.stride * (m if axis.wraps or degree == 0 else unit * size)
            for axis, m, unit, size, degree in zip(layer, least, units, grid.sizes, gram.degree, strict=True)
        )
        bound = replace(_root(largest.grid, largest, "torus", method), torus=torus)
    place, group = found[0].turns.tolist(), found[0].group
    if largest.found > found[0].value:
        place, group = largest.turns, largest.group
    lower = wave_norm(stretched[group], units, layer, [turn / unit for turn, unit in zip(place, units, strict=True)])
    if exact:
        lower = max(lower, Lower(max(0.0, down(math.sqrt(max(0.0, largest.found))))))
    return replace(bound, upper=product_up((bound.upper, spread)), lower=lower)


def _root(squared: Upper, largest: Largest, name: str, method: str) -> NormBound:
    """A bound on a norm from one on its square, as yet without one from below."""
    name = method if method == "gram" else name
    return NormBound(up(math.sqrt(squared)), Lower(0.0), name, largest.steps, largest.slack / 2)


def _on_best_grid(
    gram: Symbol, grids: Sequence[Grid], found: Sequence[Peak], rtol: float, method: str, spend: Spend
) -> tuple[Grid, Largest]:
    """The least of the bounds on some of the grids, those first of which most is to be hoped."""
    highest = foreseen(found, [(grid.sizes, grid.twists) for grid in grids])
    hopes = sorted(zip(highest, grids, strict=True), key=lambda pair: pair[0].value)
    best = hopes[0][1], _on_grid(gram, hopes[0][1], hopes[0][0], rtol, method, spend)
    missed = hopes[0][0].value < GAIN * best[1].grid  # the highest maximum, so that the other hopes are vain
    for hope, grid in hopes[1:TRIES] if method != "gram" and not missed else ():
        if hope.value > GAIN * best[1].grid:
            break
        try:
            largest = Search(gram, grid, start=hope, rtol=rtol / 4, beyond=best[1].grid, spend=spend).run()
        except TooMuchWork:
            break
        if largest is not None:
            best = min(best, (grid, largest), key=lambda pair: pair[1].grid)
    return best


def _on_grid(gram: Symbol, grid: Grid, start: Peak, rtol: float, method: str, spend: Spend) -> Largest:
    if method == "gram":
        return iterate(gram, grid, start, rtol)
    largest = Search(gram, grid, start=start, rtol=rtol / 4, spend=spend).run()
    assert largest is not None  # nothing is beyond infinity
    return largest


def _fine(degree: Sequence[int], rtol: float, method: str) -> Grid:
    """A grid so fine that the bound over it hardly differs from that over all frequencies."""
    # Gram iteration looks at every point, and gets a grid that costs a quarter of a percent per axis
    width = math.pi / 64 if method == "gram" else math.sqrt(rtol / 2) / len(degree)
    sizes = tuple(2 ** math.ceil(math.log2(d * math.pi / (2 * width))) if d else 1 for d in degree)
    return Grid(sizes, (0,) * len(sizes))


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
            more = MORE_SIZES if size <= TWISTED_UP_TO * degree and len(layer) < 3 else 1
            choices.append([(size + extra, half) for extra in range(more) for half in (0, 1)])
    return [Grid(*map(tuple, zip(*choice, strict=True))) for choice in itertools.product(*choices)]
