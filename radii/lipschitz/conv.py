"""The spectral norm of a convolution layer, as a pair of proved bounds. No convolution kernel runs here.

A layer whose matrix is small is bounded as that matrix. Any other is a piece of a circular operator on a torus
(:meth:`radii.lipschitz.geometry.Axis.torus`), which Fourier turns into blocks: the largest norm among them bounds it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radii.lipschitz.eigen import LargestEigenvalue
from radii.lipschitz.geometry import Axis, Padding, axes
from radii.lipschitz.matrix import ZERO, NormBound, check_rtol, gram_bound
from radii.lipschitz.rounding import (
    UNIT,
    LayerTooLarge,
    Lower,
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
from radii.lipschitz.witness import wave_norm

Array = npt.NDArray[np.float64]

EXPLICIT_WORK = 2**30  # multiply-adds for the Gram matrix of an explicit layer: a tenth of a second
EXPLICIT_WORK_IF_LOOSE = 2**33  # about a second, where the torus turns out loose
LOOSE = 1.02
EXPLICIT_ENTRIES = 2**24  # 128 MiB
MOST_ENTRIES = 2**26  # of a spread kernel or its autocorrelation: 512 MiB
CHUNK_BYTES = 2**26  # of Gram blocks held at a time; a few copies exist
PHASE_ERROR = 64 * UNIT  # of a computed cos or sin of 2 pi (a sum of three fractions), absolute
TORUS_SIZES = 2  # sizes tried, an even and an odd one; the smaller bound counts


def conv_norm(
    weight: npt.ArrayLike | torch.Tensor,
    input_size: int | Sequence[int],
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
        input_size: pixels per axis of the layer's input.
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
    work = _explicit_work(grouped, layer)
    bound = None if work <= EXPLICIT_WORK else _torus_bound(grouped, layer, rtol)
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


@dataclass(frozen=True, slots=True)
class Symbol:
    """Gram blocks of a stride-1 circular operator: ``H(f) = sum_d C[d] e^{-2 pi i <f, d>}``, Hermitian.

    Attributes:
        even: (D, groups, n, n), ``C[d] + C[d]^T`` for the lags d kept (``C[0]`` for d = 0).
        odd: the same with a minus.
        lags: (D, axes) integers, of each pair d, -d one.
        error: bound on the spectral norm of the error of a computed block.
    """

    even: torch.Tensor
    odd: torch.Tensor
    lags: npt.NDArray[np.int64]
    error: float

    def frequencies(self, torus: Sequence[int]) -> tuple[int, ...]:
        """The grid of frequencies to look at, per axis: half of the torus's, the others are conjugate."""
        used = self._used(torus)
        return (*used[:-1], used[-1] // 2 + 1)

    def _used(self, torus: Sequence[int]) -> list[int]:
        """Along an axis with one tap, all frequencies are the same."""
        return [size if self.lags[:, a].any() else 1 for a, size in enumerate(torus)]

    def blocks(self, torus: Sequence[int]) -> Iterator[torch.Tensor]:
        """Chunks (B, n, n) of the blocks at the frequencies, in C order, of all groups at each."""
        used, shape = self._used(torus), self.frequencies(torus)
        groups, n = self.even.shape[1:3]
        chunk = max(1, CHUNK_BYTES // (16 * groups * n * n))
        for first in range(0, math.prod(shape), chunk):
            frequencies = np.unravel_index(np.arange(first, min(first + chunk, math.prod(shape))), shape)
            turns = np.zeros((len(frequencies[0]), len(self.lags)))
            for a, frequency in enumerate(frequencies):
                whole = np.outer(frequency, self.lags[:, a]) % used[a]
                turns += (whole - used[a] * (2 * whole > used[a])) / used[a]
            angles = torch.from_numpy(2 * np.pi * turns)
            real, imaginary = angles.cos() @ self.even.flatten(1), -(angles.sin() @ self.odd.flatten(1))
            yield torch.complex(real, imaginary).reshape(-1, n, n)


def symbol(polyphase: Array, units: Sequence[int]) -> Symbol:
    """The Gram symbol of the smaller side, from (groups, out, in, *taps) whose taps lie ``units`` apart.

    The autocorrelation is taken once, in space; a Gram product per frequency would cost many times more.
    """
    kernel = polyphase if polyphase.shape[1] >= polyphase.shape[2] else polyphase.swapaxes(1, 2)
    groups, m, n = kernel.shape[:3]
    taps = kernel.shape[3:]
    stacked = torch.from_numpy(np.ascontiguousarray(np.moveaxis(kernel, 2, -1)))  # (groups, m, *taps, n)
    if math.prod(2 * t - 1 for t in taps) * groups * n * n > 2 * MOST_ENTRIES:
        raise LayerTooLarge("the autocorrelation of this kernel takes too much memory to bound")
    lags = list(np.ndindex(*(2 * t - 1 for t in taps)))
    steps = np.array(lags[len(lags) // 2 :]) - (np.array(taps) - 1)  # lexicographically >= 0, from d = 0 on
    even, odd = (torch.empty((len(steps), groups, n, n), dtype=torch.float64, device="cpu") for _ in range(2))
    for i, step in enumerate(steps):
        here = stacked[:, :, *(slice(max(0, -d), t - max(0, d)) for d, t in zip(step, taps, strict=True))]
        there = stacked[:, :, *(slice(max(0, d), t - max(0, -d)) for d, t in zip(step, taps, strict=True))]
        lag = here.reshape(groups, -1, n).mT @ there.reshape(groups, -1, n)
        even[i], odd[i] = (lag + lag.mT, lag - lag.mT) if i else (lag, torch.zeros_like(lag))
    # Entry by entry, a block is a sum over pairs of taps of |K_s|^T |K_t|, whose Frobenius norms add up to at most
    # (sum_t ||K_t||_F)^2; relative to it err the products, the sums over lags and the phases. Twice: complex, mirrored.
    frobenius = torch.linalg.vector_norm(stacked.reshape(groups, m, -1, n), dim=(1, 3)).sum(dim=1).max()
    total = float(frobenius) * (1 + gamma(kernel.size + 8))
    terms = gamma(m * math.prod(taps) + 2 * len(steps) + 16) + PHASE_ERROR
    return Symbol(even, odd, steps * np.array(units), up(2.001 * terms * total * total))


def polyphase(kernel: Array, layer: Sequence[Axis]) -> tuple[Array, tuple[int, ...]]:
    """The stride-1 equivalent (groups, out, in * phases, *taps) of a strided, dilated kernel, and its taps' spacing.

    Tap t lies at pixel ``dilation t = stride q + r``: phase r becomes a channel, q the new position. Phases that no tap
    meets are left out, and positions are divided by their greatest common divisor.
    """
    units = []
    for a, axis in enumerate(layer):
        position, phase = np.divmod(axis.dilation * np.arange(axis.kernel), axis.stride)
        unit = int(np.gcd.reduce(position)) or 1
        phases, channel = np.unique(phase, return_inverse=True)
        if kernel.size // axis.kernel * len(phases) * (int(position[-1]) // unit + 1) > MOST_ENTRIES:
            raise LayerTooLarge("a dilated, strided kernel of this extent takes too much memory to bound")
        spread = np.zeros((*kernel.shape[: 3 + a], len(phases), int(position[-1]) // unit + 1, *kernel.shape[4 + a :]))
        spread[(slice(None),) * (3 + a) + (channel, position // unit)] = kernel
        kernel = np.moveaxis(spread, 3 + a, 3)
        kernel = kernel.reshape(*kernel.shape[:2], -1, *kernel.shape[4:])
        units.append(unit)
    return kernel, tuple(units)


@certified_arithmetic()
def _torus_bound(kernel: Array, layer: Sequence[Axis], rtol: float) -> NormBound:
    stretched, units = polyphase(kernel, layer)
    gram = symbol(stretched, units)
    least, repeats = zip(*(axis.torus() for axis in layer), strict=True)
    exact = all(axis.mode == "circular" and axis.outputs * axis.stride == axis.size for axis in layer)
    squared, lower, factorisations = math.inf, Lower(0.0), 0
    for more in range(TORUS_SIZES):
        torus = [size + more * (not axis.wraps) for size, axis in zip(least, layer, strict=True)]
        if more and gram.frequencies(torus) == gram.frequencies(least):
            break
        largest = _largest_block(gram, torus, rtol, beyond=squared)
        if largest is None:
            continue
        squared = min(squared, largest.upper(gram.error))
        factorisations += largest.factorisations
        frequency, group = divmod(largest.best, len(kernel))
        place = np.unravel_index(frequency, gram.frequencies(torus))
        turns = [float(f) / size for f, size in zip(place, torus, strict=True)]
        lower = max(lower, wave_norm(stretched[group], units, layer, turns))
        if exact:  # the layer is the operator
            lower = max(lower, down(math.sqrt(largest.lower(gram.error))))
    upper = product_up((up(math.sqrt(squared)), *(up(math.sqrt(q)) if q > 1 else 1.0 for q in repeats)))
    return NormBound(upper, lower, "torus", factorisations)


def _largest_block(gram: Symbol, torus: Sequence[int], rtol: float, *, beyond: float) -> LargestEigenvalue | None:
    """The largest eigenvalue of all blocks on a torus; None as soon as it is known to lie beyond what is of use."""
    order = gram.even.shape[-1]
    # the mean over frequencies of trace H(f) / n is ||K||_F^2 / n (where K does not wrap onto itself), and K's largest
    # entry is at least 1/2: no level below that is worth a try
    largest = LargestEigenvalue(order, rtol=rtol, floor=0.25 / order)
    for blocks in gram.blocks(torus):
        largest.add(blocks)
        if largest.found > beyond:
            return None
    return largest
