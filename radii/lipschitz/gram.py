"""A differentiable estimate of spectral norms, for training. Estimates are never certificates: see ``matrix_norm``."""

from collections.abc import Sequence

import torch


def gram_norm(weight: torch.Tensor, *, steps: int = 6, torus: Sequence[int] | None = None) -> torch.Tensor:
    """``||G_T||_F^(1/2^T)`` with ``G_0 = W``, ``G_{t+1} = G_t^T G_t``: at least the spectral norm, rounding aside.

    Each step squares every ratio of singular values; the result is at most ``rank^(2^-(T+1))`` too large. Iterates are
    rescaled, so any scale of the weight's dtype is safe. Works in the weight's dtype, on its device.
    *(Delattre et al., ICML 2023, arXiv 2305.16173.)*

    Args:
        weight: a matrix (m, n), or with ``torus`` a kernel (out, in, *kernel) of a stride-1 convolution.
        steps: T.
        torus: pixels per axis, at least the kernel's, of the circular convolution meant; the norm is the largest among
            its Fourier blocks. The image size plus the padding bounds a zero-padded layer.

    Returns:
        A scalar, differentiable with respect to the weight; for a zero weight 0, with zero gradient.
    """
    scale = weight.detach().abs().amax()
    if scale == 0:
        return weight.sum() * 0
    blocks = weight / scale
    if torus is not None:
        axes = tuple(range(-len(torus), 0))
        if any(size < kernel for size, kernel in zip(torus, weight.shape[2:], strict=True)):
            raise ValueError(f"a torus of {tuple(torus)} pixels does not hold a kernel of {tuple(weight.shape[2:])}")
        blocks = torch.fft.rfftn(blocks, s=tuple(torus), dim=axes).flatten(2).permute(2, 0, 1)
    if blocks.shape[-2] < blocks.shape[-1]:
        blocks = blocks.mH
    tiny = torch.finfo(weight.dtype).tiny
    logarithm = torch.zeros((), dtype=weight.dtype, device=weight.device)
    for _ in range(steps):
        norm = torch.linalg.matrix_norm(blocks, keepdim=True).clamp_min(tiny)
        blocks = blocks / norm
        blocks = blocks.mH @ blocks
        logarithm = 2 * (logarithm + norm.log())
    logarithm = logarithm + torch.linalg.matrix_norm(blocks, keepdim=True).clamp_min(tiny).log()
    largest: torch.Tensor = scale * (logarithm / 2**steps).exp().max()
    return largest
