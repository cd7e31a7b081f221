"""Certified norms against what is usually computed instead, in one run, on one thread:

    OMP_NUM_THREADS=1 python -m benchmarks.lipschitz

Peers of a dense layer, all in float64, none of them certified; the two iterations are stopped as soon as they are
within 1e-6 of LAPACK's value, which they could not know:

* LAPACK's singular values (``torch.linalg.svdvals``);
* power iteration (Yoshida and Miyato 2017; Miyato et al., ICLR 2018), which errs to below;
* Gram iteration (Delattre et al., ICML 2023), which errs to above; and, certified, with half the work a step and its
  own stopping rule, ours (``half``: ``matrix_norm(method="gram")``);
* the floor: one Gram product (``dsyrk``) and one Cholesky factorisation (``dpotrf``) of this size, measured here.

Peer of a convolution: the singular values of every Fourier block at the image's size (Sedghi et al., ICLR 2019), which
is neither certified nor, for zero padding, an upper bound.

Seconds are CPU time, the least of interleaved repeats. Ratios are peer time / ours: above 1, ours is quicker. ``loose``
is our upper bound over our lower bound, minus 1. Last, the differentiable norm's gradient against autograd's.
"""

import math
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.linalg import blas, lapack

from radii.lipschitz import conv_norm, gram_norm, matrix_norm

ACCURACY = 1e-6


def best(*functions: Callable[[], object], repeats: int = 3) -> list[float]:
    """CPU seconds of each: the least of interleaved repeats, after one to warm up."""
    times = [math.inf] * len(functions)
    for repeat in range(repeats + 1):
        for i, function in enumerate(functions):
            started = time.process_time()
            function()
            if repeat:
                times[i] = min(times[i], time.process_time() - started)
    return times


def power_iteration(weight: torch.Tensor, true: float) -> float:
    vector = torch.randn(weight.shape[1], dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
    norm = 0.0
    while norm < true * (1 - ACCURACY):
        image = weight @ (vector / torch.linalg.vector_norm(vector))
        norm = float(torch.linalg.vector_norm(image))
        vector = weight.mT @ image
    return norm


def gram_iteration(weight: torch.Tensor, true: float) -> float:
    logarithm, power, norm = 0.0, 1, math.inf
    while True:
        frobenius = torch.linalg.matrix_norm(weight)
        norm = math.exp((logarithm + float(frobenius.log())) / power)
        if norm <= true * (1 + ACCURACY):
            return norm
        weight = weight / frobenius
        weight = weight.mT @ weight
        logarithm, power = 2 * (logarithm + float(frobenius.log())), 2 * power


def dense(generator: torch.Generator) -> None:
    columns = " ".join(f"{name:>7}" for name in ("svdvals", "power", "Gram", "half", "floor"))
    print(f"{'dense':>18} {'ours/ms':>8} {columns} {'loose':>8} {'slack':>8}")

    def weights(m: int, n: int) -> torch.Tensor:
        return torch.randn(m, n, generator=generator, dtype=torch.float64)

    cases = {f"{m}x{n}": weights(m, n) for m, n in ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 512))}
    cases["orthogonal 1024"] = torch.linalg.qr(weights(1024, 1024))[0]
    for name, weight in cases.items():
        true, rows = float(torch.linalg.matrix_norm(weight, 2)), weight.numpy().T
        definite = np.asfortranarray(np.eye(len(rows)) * 4 * true**2 - rows @ rows.T)
        ours, svd, power, gram, half, product, factor = best(
            partial(matrix_norm, weight, rtol=ACCURACY),
            partial(torch.linalg.svdvals, weight),
            partial(power_iteration, weight, true),
            partial(gram_iteration, weight, true),
            partial(matrix_norm, weight, rtol=ACCURACY, method="gram"),
            partial(blas.dsyrk, 1.0, rows, lower=1),
            partial(lapack.dpotrf, definite, lower=1, clean=0),
            repeats=2 if weight.numel() > 2**21 else 5,
        )
        bound = matrix_norm(weight, rtol=ACCURACY)
        ratios = " ".join(f"{peer / ours:7.2f}" for peer in (svd, power, gram, half, product + factor))
        loose = bound.upper / bound.lower - 1
        print(f"{name:>18} {ours * 1e3:8.1f} {ratios} {loose:8.1e} {bound.slack:8.1e}")


def fourier_svd(weight: torch.Tensor, size: int) -> torch.Tensor:
    """The largest singular value over the blocks of the circular convolution of the image's size."""
    blocks = torch.fft.rfft2(weight, s=(size, size)).flatten(2).permute(2, 0, 1)
    return torch.linalg.svdvals(blocks)[:, 0].max()


def convolution(generator: torch.Generator) -> None:
    print(f"{'convolution':>24} {'ours/ms':>8} {'peer/ms':>8} {'ratio':>6} {'loose':>9}")
    for channels, size in ((64, 32), (128, 16), (256, 8)):
        weight = torch.randn(channels, channels, 3, 3, generator=generator, dtype=torch.float64)
        bound = conv_norm(weight, (size, size), padding=1)
        ours, peer = best(partial(conv_norm, weight, (size, size), padding=1), partial(fourier_svd, weight, size))
        loose = bound.upper / bound.lower - 1
        name = f"{channels}x{channels}x3x3 @{size}"
        print(f"{name:>24} {ours * 1e3:8.1f} {peer * 1e3:8.1f} {peer / ours:6.2f} {loose:9.1e}")


def autograd_gram_norm(weight: torch.Tensor, steps: int) -> torch.Tensor:
    """As a training loop would write it; of a stack of blocks, the largest."""
    logarithm = torch.zeros(())
    for _ in range(steps):
        norm = torch.linalg.matrix_norm(weight, keepdim=True)
        weight = weight / norm
        weight = weight.mH @ weight
        logarithm = 2 * (logarithm + norm.log())
    return ((logarithm + torch.linalg.matrix_norm(weight, keepdim=True).log()) / 2**steps).exp().max()


def gradients(generator: torch.Generator) -> None:
    print(f"{'gradient, 8 steps':>24} {'ours/ms':>8} {'autograd/ms':>12} {'ratio':>6}")
    cases: list[tuple[tuple[int, ...], int | None]] = [((256, 256), None), ((1024, 1024), None), ((64, 64, 3, 3), 32)]
    for shape, size in cases:
        weight = torch.randn(shape, generator=generator).requires_grad_()
        torus = None if size is None else (size, size)

        def ours(weight: torch.Tensor = weight, torus: tuple[int, int] | None = torus) -> None:
            torch.autograd.grad(gram_norm(weight, steps=8, torus=torus), weight)

        def peer(weight: torch.Tensor = weight, torus: tuple[int, int] | None = torus) -> None:
            blocks = weight if torus is None else torch.fft.rfft2(weight, s=torus).flatten(2).permute(2, 0, 1)
            torch.autograd.grad(autograd_gram_norm(blocks, 8), weight)

        own, other = best(ours, peer)
        name = "x".join(map(str, shape)) + ("" if size is None else f" @{size}")
        print(f"{name:>24} {own * 1e3:8.1f} {other * 1e3:12.1f} {other / own:6.2f}")


def main() -> None:
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit(
            "Set OMP_NUM_THREADS=1 first: NumPy, SciPy and torch each bring a BLAS, and all should use one."
        )
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    dense(generator)
    convolution(generator)
    gradients(generator)


if __name__ == "__main__":
    main()
