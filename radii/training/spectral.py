"""A spectral norm to penalise at every step: near the true one, not above it, and cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

VECTORS = 8  # of a subspace: neighbours of the largest singular value are found with it
ROUNDS = 3  # of subspace iteration, of a block among others, which only has to be compared
LAST = 12  # of the largest one, with the square of its Gram matrix
SQUARINGS = 10  # of a Gram matrix, which leave of a singular value 1 % smaller than the largest one 1e-9
TINY = 1e-37  # instead of 0, in float32 too
SMALL = 128  # order up to which they are quicker than a subspace


def spectral_norm(weight: Tensor, *, torus: Sequence[int] | None = None) -> Tensor:
    """The largest singular value by Gram products and subspace iteration, with the gradient ``u v^T``: an estimate.

    It errs to below, by some 1e-5, or 1e-3 where singular values crowd at the top. In float32 at least, whatever
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
    """The Fourier block (out, in) of the largest norm, as far as an estimate tells."""
    if any(size < extent for size, extent in zip(torus, kernel.shape[2:], strict=True)):
        raise ValueError(f"a torus of {tuple(torus)} pixels does not hold a kernel of {tuple(kernel.shape[2:])}")
    with torch.no_grad():
        blocks = torch.fft.rfft2(kernel, s=tuple(torus)).flatten(2).permute(2, 0, 1).contiguous()
        blocks = blocks if blocks.shape[1] >= blocks.shape[2] else blocks.mH
        found = blocks @ _subspace(blocks, ROUNDS)
        best = int(torch.linalg.eigvalsh(found.mH @ found)[:, -1].argmax())
        frequency = divmod(best, torus[1] // 2 + 1)
        turns = [
            torch.arange(k, dtype=torch.float64) * (f / n)
            for f, n, k in zip(frequency, torus, kernel.shape[2:], strict=True)
        ]
        angles = 2 * math.pi * (turns[0][:, None] + turns[1]).flatten().to(kernel)
        phases = torch.polar(torch.ones_like(angles), -angles)
    flat = kernel.flatten(2)
    return torch.complex(flat @ phases.real, flat @ phases.imag)


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


def _subspace(blocks: Tensor, rounds: int) -> Tensor:
    """Orthonormal vectors (..., n, VECTORS) near the largest right singular ones of blocks (..., m, n)."""
    n = blocks.shape[-1]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(n, min(n, VECTORS), generator=generator, dtype=torch.float64)
    vectors = start.to(blocks.device, blocks.dtype)
    for _ in range(rounds):
        vectors = torch.linalg.qr(blocks.mH @ (blocks @ vectors)).Q
    return vectors
