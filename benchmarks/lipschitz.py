"""Certified norms against what is usually computed instead, in one run: `python benchmarks/lipschitz.py`.

* dense: LAPACK's singular values (``torch.linalg.svdvals``), an estimate;
* convolution: the singular values of every Fourier block at the image's size (Sedghi et al., ICLR 2019), which is
  neither certified nor, for zero padding, an upper bound.

Ratios are peer time / ours: above 1, ours is quicker. ``loose`` is our upper bound over our lower bound, minus 1.
"""

import time
from collections.abc import Callable

import torch

from radii.lipschitz import conv_norm, matrix_norm

REPEATS = 3


def best(function: Callable[[], object]) -> float:
    """Seconds of the quickest of a few runs."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def fourier_svd(weight: torch.Tensor, size: int) -> torch.Tensor:
    """The largest singular value over the blocks of the circular convolution of the image's size."""
    blocks = torch.fft.rfft2(weight, s=(size, size)).flatten(2).permute(2, 0, 1)
    return torch.linalg.svdvals(blocks)[:, 0].max()


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    print(f"{'layer':>24} {'ours/s':>8} {'peer/s':>8} {'ratio':>6} {'loose':>9}")
    for n in (256, 1024):
        weight = torch.randn(n, n, generator=generator, dtype=torch.float64)
        bound = matrix_norm(weight)
        ours, peer = best(lambda w=weight: matrix_norm(w)), best(lambda w=weight: torch.linalg.svdvals(w))
        report(f"dense {n}x{n}", ours, peer, bound.upper / bound.lower - 1)
    for channels, size in ((64, 32), (128, 16), (256, 8)):
        weight = torch.randn(channels, channels, 3, 3, generator=generator, dtype=torch.float64)
        bound = conv_norm(weight, (size, size), padding=1)
        ours = best(lambda w=weight, s=size: conv_norm(w, (s, s), padding=1))
        peer = best(lambda w=weight, s=size: fourier_svd(w, s))
        report(f"conv {channels}x{channels}x3x3 @{size}", ours, peer, bound.upper / bound.lower - 1)


def report(name: str, ours: float, peer: float, loose: float) -> None:
    print(f"{name:>24} {ours:8.3f} {peer:8.3f} {peer / ours:6.2f} {loose:9.1e}")


if __name__ == "__main__":
    main()
