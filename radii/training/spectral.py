"""A spectral norm to penalise at every step: near the true one, not above it, and cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

VECTORS = 8  # of a subspace: neighbours of the largest singular value are found with it
GRID = 3  # points a tap, on the grid of frequencies that is looked at first
FEW = 4  # vectors for a block among others, which only has to be compared
ROUNDS = 3  # of iteration on each of these
LAST = 12  # of the largest one, with the square of its Gram matrix
SQUARINGS = 10  # of a Gram matrix, which leave of a singular value 1 % smaller than the largest one 1e-9
TINY = 1e-37  # instead of 0, in float32 too
SMALL = 128  # order up to which they are quicker than a subspace


def spectral_norm(weight: Tensor, *, torus: Sequence[int] | None = None) -> Tensor:
    """The largest singular value by Gram products and subspace iteration, with the gradient ``u v^T``: an estimate.

    It errs to below, by some 1e-5, or 1e-2 where much crowds at the top. In float32 at least, whatever
    autocast says; differentiable once. For one that errs to above, and more than once differentiable, at several times
    the cost: :func:`radii.lipschitz.gram_norm`. (After Delattre et al., ICML 2023, arXiv 2305.16173; Halko et al., SIAM
    Review 2011.)

    Args:
        weight: a matrix (m, n), or with ``torus`` a kernel (out, in, height, width) of a stride-1 convolution.
        torus: pixels per axis, at least the kernel's, of the circular convolution meant.

    Returns:
        A scalar; of zeros 0, with zero gradient.
    """
    with torch.autocast(weight.device.type, enabled=False):
        wide = weight.float() if torch.finfo(weight.dtype).bits < 32 else weight
        matrix = wide if torus is None else _largest_block(wide, torus)
        norm: Tensor = _Norm.apply(matrix)  # type: ignore[no-untyped-call]
        return norm.to(weight.dtype)


def _largest_block(kernel: Tensor, torus: Sequence[int]) -> Tensor:
    """The Fourier block (out, in) of the largest norm, as far as an estimate tells.

    Blocks change no faster with the frequency than the kernel is wide: it is looked for on a grid first, then around
    its best.
    """
    extents = tuple(kernel.shape[2:])
    if any(size < extent for size, extent in zip(torus, extents, strict=True)):
        raise ValueError(f"a torus of {tuple(torus)} pixels does not hold a kernel of {extents}")
    steps = [max(1, size // (GRID * extent)) for size, extent in zip(torus, extents, strict=True)]
    with torch.no_grad():
        ends = torus[0], torus[1] // 2 + 1  # half of the frequencies: the others are conjugates
        grid = torch.cartesian_prod(*(torch.arange(0, end, step) for end, step in zip(ends, steps, strict=True)))
        best = _best(kernel, torus, grid)
        if max(steps) > 1:
            best = _best(kernel, torus, best + torch.cartesian_prod(*(torch.arange(1 - step, step) for step in steps)))
    return _blocks(kernel, torus, best[None]).squeeze(0)


def _blocks(kernel: Tensor, torus: Sequence[int], frequencies: Tensor) -> Tensor:
    """(frequencies, out, in): ``sum_tap K[tap] e^(-2 pi i <f, tap>/N)``."""
    taps = torch.cartesian_prod(*(torch.arange(extent) for extent in kernel.shape[2:]))
    turns = (frequencies / torch.tensor(torus, dtype=torch.float64)) @ taps.double().mT
    angles = 2 * math.pi * turns
    flat = kernel.flatten(2).movedim(2, 0)  # (taps, out, in)
    real, imaginary = (torch.tensordot(part.to(kernel), flat, dims=1) for part in (angles.cos(), -angles.sin()))
    blocks: Tensor = torch.complex(real, imaginary)
    return blocks


def _best(kernel: Tensor, torus: Sequence[int], frequencies: Tensor) -> Tensor:
    """The one (axes,) among these (frequencies, axes)."""
    blocks = _blocks(kernel, torus, frequencies)
    blocks = blocks if blocks.shape[1] >= blocks.shape[2] else blocks.mH
    found = blocks @ torch.linalg.qr(_powers(blocks)).Q
    return frequencies[torch.linalg.eigvalsh(found.mH @ found)[:, -1].argmax().cpu()]


def _powers(blocks: Tensor) -> Tensor:
    """(..., n, FEW): seeded vectors times powers of the blocks' Gram matrices, for comparing blocks."""
    vectors = _start(blocks, FEW)
    for _ in range(ROUNDS):
        vectors = blocks.mH @ (blocks @ vectors)
        vectors = vectors / torch.linalg.matrix_norm(vectors, keepdim=True).clamp(min=TINY)
    return vectors


class _Norm(torch.autograd.Function):
    """The norm of a matrix (m, n), real or complex."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mH
        scale = tall.abs().max()
        unit = tall / scale.clamp(min=TINY)
        gram = unit.mH @ unit
        if len(gram) <= SMALL:
            power = gram
            for _ in range(SQUARINGS // 2):  # two at a time: nothing underflows yet
                power = power / power.norm().clamp(min=TINY)
                power = power @ power
                power = power @ power
            # of a multiple of v v^H the largest column is the one of the largest entry of the diagonal
            right = power[:, power.diagonal().real.argmax()]
            right = right / right.norm().clamp(min=TINY)
        else:
            gram = gram / gram.norm().clamp(min=TINY)
            basis = _subspace(gram @ gram, LAST)
            right = basis @ torch.linalg.eigh(basis.mH @ gram @ basis).eigenvectors[:, -1]
        left = unit @ right
        size = left.norm()
        left = left / size.clamp(min=TINY)
        u, v = (left, right) if tall is matrix else (right, left)
        ctx.save_for_backward(u, v)
        norm: Tensor = scale * size
        return norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        u, v = ctx.saved_tensors
        made: Tensor = upstream * torch.outer(u, v.conj())
        return made


def _subspace(gram: Tensor, rounds: int) -> Tensor:
    """Orthonormal vectors (n, VECTORS) near the largest eigenvectors of a positive matrix."""
    vectors = _start(gram, VECTORS)
    for _ in range(rounds):
        vectors = torch.linalg.qr(gram @ (gram @ vectors)).Q
    return vectors


def _start(matrices: Tensor, count: int) -> Tensor:
    n = matrices.shape[-1]
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, min(n, count), generator=generator, dtype=torch.float64).to(matrices.device, matrices.dtype)
