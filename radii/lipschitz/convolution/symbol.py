"""The Fourier blocks of a convolution: a Hermitian matrix for each frequency, whose largest eigenvalue is wanted.

A strided, dilated convolution is rewritten as one of stride 1 without gaps (polyphase). Its autocorrelation is taken
once, in space; the Gram block of any frequency is then a short sum, far cheaper than a product of two matrices.
Formulas: docs/numerics.md 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, adjoint
from radii.lipschitz.convolution.geometry import Axis
from radii.lipschitz.rounding import UNIT, LayerTooLarge, gamma, up

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MOST_ENTRIES = 2**26  # of a spread kernel or its autocorrelation: 512 MiB
PHASE_ERROR = 64 * UNIT  # of a computed cos or sin of 2 pi (a sum of three fractions), absolute
GATHER_UP_TO = 8  # order of blocks so small that copying coefficients is quicker than a product for each group


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


@dataclass(frozen=True, slots=True)
class Symbol:
    """``H(t) = sum_d C[d] e^{-2 pi i <t, d>}``, Hermitian and positive semidefinite, for turns t in [0, 1)^axes.

    Attributes:
        parts: (groups, 2 D, 2 n n): ``C[d] + C[d]^T`` (``C[0]`` for d = 0) of the lags d that occur, as the real parts
            of D rows, then ``C[d] - C[d]^T`` as the imaginary parts of D more: a block is a combination of rows.
        lags: (D, axes) integers, of each pair d, -d one.
        degree: the largest lag along each axis.
        error: bound on the spectral norm of the error of a computed block.
    """

    parts: Array
    lags: Integers
    degree: tuple[int, ...]
    error: float

    @property
    def groups(self) -> int:
        return int(self.parts.shape[0])

    @property
    def order(self) -> int:
        """n, the size of a block."""
        return math.isqrt(self.parts.shape[2] // 2)

    @property
    def bytes_per_block(self) -> int:
        """What computing one takes, about."""
        rows, entries = self.parts.shape[1:]
        return int(8 * (4 * rows + entries * (1 + rows * (self.groups > 1 and self.order <= GATHER_UP_TO))))

    @property
    def work_per_block(self) -> int:
        """Multiply-adds of computing one and factorising it."""
        return int(4 * self.order**3 // 3 + self.parts.shape[1] * self.parts.shape[2])

    def blocks(
        self,
        numerators: Integers,
        denominators: Integers,
        group: Integers,
        *,
        sign: float = 1.0,
        out: Array | None = None,
    ) -> Blocks:
        """Blocks (B, n, n): ``sign`` times that of each group (B), at turns ``numerators / denominators`` (B, axes).

        ``out``: (at least B, 2 n n) float64, to be overwritten and to hold the result.
        """
        turns = np.zeros((len(numerators), len(self.lags)))
        for a, denominator in enumerate(denominators):
            whole = np.outer(numerators[:, a] % denominator, self.lags[:, a]) % denominator
            turns += (whole - denominator * (2 * whole > denominator)) / denominator
        angles = 2 * np.pi * turns
        phases = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1) * sign
        count, n = len(numerators), self.order
        out = out[:count] if out is not None else np.empty((count, self.parts.shape[2]))
        if self.groups == 1:
            np.matmul(phases, self.parts[0], out=out)
        elif n <= GATHER_UP_TO:
            np.matmul(phases[:, np.newaxis], self.parts[group], out=out[:, np.newaxis])
        else:
            for g in np.unique(group):
                here = np.flatnonzero(group == g)
                out[here] = phases[here] @ self.parts[g]
        return out.view(np.complex128).reshape(count, n, n)

    def compressed(self, basis: Blocks, group: int) -> Symbol:
        """``V^H H V`` of one group for a complex basis V (n, p): an estimate."""
        n, p = basis.shape
        parts = adjoint(basis) @ self.parts[group].view(np.complex128).reshape(-1, n, n) @ basis
        return Symbol(parts.view(np.float64).reshape(1, -1, 2 * p * p), self.lags, self.degree, math.inf)

    def estimate(self, turns: Array) -> Array:
        """(B) largest eigenvalues at any turns (B, axes), of the only group of a small symbol."""
        n, angles = self.order, 2 * np.pi * turns @ self.lags.T
        values = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1) @ self.parts[0]
        blocks = values.view(np.complex128).reshape(-1, n, n)
        largest: Array = np.linalg.eigvalsh(blocks)[:, -1] if n > 1 else blocks[:, 0, 0].real
        return largest


def symbol_work(kernel: Array) -> int:
    """Multiply-adds of `symbol`."""
    groups, m, n = kernel.shape[:3]
    taps = math.prod(kernel.shape[3:])
    return int(groups * m * n * min(m, n) * taps * (taps + 1) // 2)


def lags_of(kernel: Array) -> int:
    """How many lags a kernel (groups, out, in, *taps) may have, of each pair one."""
    return int(math.prod(2 * t - 1 for t in kernel.shape[3:]) // 2 + 1)


def block_work(kernel: Array) -> int:
    """Multiply-adds of computing a block and factorising it."""
    order = int(min(kernel.shape[1:3]))
    return 4 * order**3 // 3 + 4 * lags_of(kernel) * order**2


def symbol(kernel: Array) -> Symbol:
    """The Gram symbol of the smaller side, from (groups, out, in, *taps) of stride 1."""
    kernel = kernel if kernel.shape[1] >= kernel.shape[2] else kernel.swapaxes(1, 2)
    groups, m, n = kernel.shape[:3]
    taps = kernel.shape[3:]
    if math.prod(2 * t - 1 for t in taps) * groups * n * n > MOST_ENTRIES:
        raise LayerTooLarge("the autocorrelation of this kernel takes too much memory to bound")
    stacked = np.ascontiguousarray(np.moveaxis(kernel, 2, -1))  # (groups, m, *taps, n)
    lags = list(np.ndindex(*(2 * t - 1 for t in taps)))
    steps = np.array(lags[len(lags) // 2 :]) - (np.array(taps) - 1)  # lexicographically >= 0, from d = 0 on
    parts = np.zeros((groups, 2, len(steps), n, n, 2))
    for i, step in enumerate(steps):
        here = stacked[:, :, *(slice(max(0, -d), t - max(0, d)) for d, t in zip(step, taps, strict=True))]
        there = stacked[:, :, *(slice(max(0, d), t - max(0, -d)) for d, t in zip(step, taps, strict=True))]
        lag = here.reshape(groups, -1, n).swapaxes(1, 2) @ there.reshape(groups, -1, n)
        parts[:, 0, i, :, :, 0] = lag + lag.swapaxes(1, 2) if i else lag
        if i:
            parts[:, 1, i, :, :, 1] = lag - lag.swapaxes(1, 2)
    # Entry by entry, a block is a sum over pairs of taps of |K_s|^T |K_t|, whose Frobenius norms add up to at most
    # (sum_t ||K_t||_F)^2; relative to it err the products, the sums over lags and the phases. Twice: complex, mirrored.
    frobenius = np.linalg.norm(stacked.reshape(groups, m, -1, n), axis=(1, 3)).sum(axis=1).max()
    total = float(frobenius) * (1 + gamma(kernel.size + 8))
    terms = gamma(m * math.prod(taps) + 2 * len(steps) + 16) + PHASE_ERROR
    kept = np.flatnonzero(parts.any(axis=(0, 1, 3, 4, 5)))
    parts, steps = parts[:, :, kept], steps[kept]
    degree = tuple(int(d) for d in np.abs(steps).max(axis=0))
    return Symbol(parts.reshape(groups, 2 * len(steps), -1), steps, degree, up(2.001 * terms * total * total))
