"""A differentiable estimate of spectral norms, for training. Estimates are never certificates: see ``matrix_norm``.
Formulas: docs/numerics.md 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def gram_norm(weight: torch.Tensor, *, steps: int = 6, torus: Sequence[int] | None = None) -> torch.Tensor:
    """``||G_T||_F^(1/2^T)`` with ``G_0 = W``, ``G_{t+1} = G_t^H G_t``: at least the spectral norm, rounding aside.

    It is the Schatten norm with ``p = 2^(T+1)``, at most ``rank^(1/p)`` too large. Iterates are rescaled, so any scale
    of the weight's dtype is safe. Works on the weight's device, in its dtype (float32 for narrower ones) whatever
    autocast says, differentiable twice. *(Delattre et al., ICML 2023, arXiv 2305.16173.)*

    Args:
        weight: matrices (..., m, n), or with ``torus`` a kernel (out, in, *kernel) of a stride-1 convolution.
        steps: T.
        torus: pixels per axis, at least the kernel's, of the circular convolution meant; the norm is the largest among
            its Fourier blocks. The image size plus the padding bounds a zero-padded layer.

    Returns:
        One norm for each matrix, shape (...), or of the convolution, a scalar; of zeros 0, with zero gradient.
    """
    with torch.autocast(weight.device.type, enabled=False):
        wide = weight.float() if torch.finfo(weight.dtype).bits < 32 else weight
        if torus is None:
            return _schatten(wide, steps).to(weight.dtype)
        axes = tuple(range(-len(torus), 0))
        if any(size < kernel for size, kernel in zip(torus, weight.shape[2:], strict=True)):
            raise ValueError(f"a torus of {tuple(torus)} pixels does not hold a kernel of {tuple(weight.shape[2:])}")
        blocks = torch.fft.rfftn(wide, s=tuple(torus), dim=axes).flatten(2).permute(2, 0, 1)
        # the gradient is that of one block: it alone need be remembered
        norms, *_ = _iterate(_tall(blocks.detach()), steps, keep=False)
        return _schatten(blocks.index_select(0, norms.flatten().argmax().reshape(1)), steps)[0].to(weight.dtype)


def _tall(matrices: torch.Tensor) -> torch.Tensor:
    return matrices.mH if matrices.shape[-2] < matrices.shape[-1] else matrices


def _schatten(matrices: torch.Tensor, steps: int) -> torch.Tensor:
    norms: torch.Tensor = _Schatten.apply(_tall(matrices), steps)[0]  # type: ignore[no-untyped-call]
    return norms[..., 0, 0]


class _Schatten(torch.autograd.Function):
    """The norm of matrices (..., m, n), m >= n, and its gradient in closed form, ``W (W^H W)^(p/2-1) / norm^(p-1)``.

    Since ``p/2 - 1 = 1 + 2 + ... + 2^(T-1)``, that power is the product of the iterates, known but for a factor, which
    follows from ``<gradient, W> = norm``: half the products that autograd takes.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrices: torch.Tensor, steps: int) -> tuple[torch.Tensor, ...]:
        norms, unit, iterates = _iterate(matrices, steps)
        return norms, unit, *iterates

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, int], output: tuple[torch.Tensor, ...]) -> None:
        matrices, ctx.steps = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(matrices, *output)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor, *_: None) -> tuple[torch.Tensor, None]:
        matrices, norms, unit, *iterates = ctx.saved_tensors
        with torch.autocast(matrices.device.type, enabled=False):
            if torch.is_grad_enabled():  # to be differentiated again
                norms, unit, iterates = _iterate(matrices, ctx.steps)
            power = None
            for iterate in iterates:
                power = iterate if power is None else _normalised(power @ iterate)[1]
            direction = unit if power is None else unit @ power
            product = (direction * matrices.conj()).real.sum(dim=(-2, -1), keepdim=True)
            return upstream * direction * (norms / product.where(product > 0, 1)), None


def _iterate(
    matrices: torch.Tensor, steps: int, *, keep: bool = True
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """The norms (..., 1, 1), the matrices divided by their Frobenius norms, and if kept, so G_1, ..., G_T."""
    scale = matrices.detach().abs().amax(dim=(-2, -1), keepdim=True)
    norm, unit = _normalised(matrices / scale.where(scale > 0, 1))
    norms, iterate, iterates = [norm], unit, []
    for _ in range(steps):
        norm, iterate = _normalised(iterate.mH @ iterate)
        norms.append(norm)
        if keep:
            iterates.append(iterate)
    root = norms.pop()
    while norms:
        root = norms.pop() * root.sqrt()
    return scale * root, unit, iterates


def _normalised(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The Frobenius norms, and the matrices divided by them; zeros stay."""
    norms = torch.linalg.matrix_norm(matrices, keepdim=True)
    return norms, matrices / norms.where(norms > 0, 1)
