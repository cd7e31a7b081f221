"""Certified norms against what is usually computed instead, in one run, on one thread:

    OMP_NUM_THREADS=1 python -m benchmarks.lipschitz [--device cuda]

Peers of a dense layer, all in float64, none of them certified; the two iterations are stopped as soon as they are
within 1e-6 of LAPACK's value, which they could not know:

* LAPACK's singular values (``torch.linalg.svdvals``);
* power iteration (Yoshida and Miyato 2017; Miyato et al., ICLR 2018), which errs to below;
* Gram iteration (Delattre et al., ICML 2023), which errs to above; and, certified, with half the work a step and its
  own stopping rule, ours (``half``: ``matrix_norm(method="gram")``);
* the floor: one Gram product (``dsyrk``) and one Cholesky factorisation (``dpotrf``) of this size, measured here.

Peers of a convolution, neither of them certified nor, at the image's size, an upper bound for zero padding:

* the singular values of every Fourier block, in complex128 (Sedghi et al., ICLR 2019), and of those at half the
  frequencies (``half``), the others being their conjugates: timed on every eighth of the latter, and scaled;
* 8 Gram steps on the blocks at half the frequencies, in complex64 (Delattre et al., ICML 2023); ``errs`` is what they
  are off by on their own torus, ``loose`` what ours is;
* the floor: a block of our symbol and a Cholesky factorisation of this order for each frequency of the torus.

Then our time at other image sizes over that at 32, and ``network_bound`` of a whole ResNet-50 of random weights at 224.
That and the 512 channels at 224 run in processes of their own, for their memory.

Seconds are CPU time, the least of interleaved repeats. Ratios are peer time / ours: above 1, ours is quicker. ``loose``
is our upper bound over our lower bound, minus 1. Last, the differentiable norm's gradient against autograd's.

With ``--device cuda`` every peer, the floor of a dense layer, ours of one (Gram iteration then) and both gradients run
on the GPU, in the same precision; ours of a convolution and its floor stay on the CPU, as do the whole network and the
largest layer. Seconds are then wall time, all work on the GPU done.
"""

import argparse
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import blas, lapack

from radii.graph import read_onnx
from radii.lipschitz import conv_norm, gram_norm, matrix_norm, network_bound
from radii.lipschitz.blocks import positive_definite
from radii.lipschitz.convolution.symbol import symbol
from tests.graph.export import export
from tests.graph.plain import Bottleneck, ResNet, shaken

ACCURACY = 1e-6
TIMED = 8  # one in so many blocks has its singular values computed


def now(device: torch.device) -> float:
    """CPU seconds; with a GPU seconds of wall time, once that has nothing left to do."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def best(*functions: Callable[[], object], device: torch.device, repeats: int = 3) -> list[float]:
    """Seconds of each: the least of interleaved repeats, after one to warm up."""
    times = [math.inf] * len(functions)
    for repeat in range(repeats + 1):
        for i, function in enumerate(functions):
            started = now(device)
            function()
            if repeat:
                times[i] = min(times[i], now(device) - started)
    return times


def power_iteration(weight: torch.Tensor, true: float) -> float:
    vector = torch.randn(weight.shape[1], dtype=weight.dtype, generator=torch.Generator().manual_seed(0)).to(
        weight.device
    )
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


def dense_floor(weight: torch.Tensor, true: float) -> tuple[Callable[[], object], Callable[[], object]]:
    """A Gram product and a Cholesky factorisation of this size."""
    if weight.is_cuda:
        shifted = torch.eye(weight.shape[1]).to(weight) * 4 * true**2 - weight.mT @ weight
        return partial(torch.matmul, weight.mT, weight), partial(torch.linalg.cholesky_ex, shifted)
    rows = weight.numpy().T
    definite = np.asfortranarray(np.eye(len(rows)) * 4 * true**2 - rows @ rows.T)
    return partial(blas.dsyrk, 1.0, rows, lower=1), partial(lapack.dpotrf, definite, lower=1, clean=0)


def dense(generator: torch.Generator, device: torch.device) -> None:
    columns = " ".join(f"{name:>7}" for name in ("svdvals", "power", "Gram", "half", "floor"))
    print(f"{'dense':>18} {'ours/ms':>8} {columns} {'loose':>8} {'slack':>8}")

    def weights(m: int, n: int) -> torch.Tensor:
        return torch.randn(m, n, generator=generator, dtype=torch.float64).to(device)

    cases = {f"{m}x{n}": weights(m, n) for m, n in ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 512))}
    cases["orthogonal 1024"] = torch.linalg.qr(weights(1024, 1024))[0]
    for name, weight in cases.items():
        true = float(torch.linalg.matrix_norm(weight, 2))
        ours, svd, power, gram, half, product, factor = best(
            partial(matrix_norm, weight, rtol=ACCURACY),
            partial(torch.linalg.svdvals, weight),
            partial(power_iteration, weight, true),
            partial(gram_iteration, weight, true),
            partial(matrix_norm, weight, rtol=ACCURACY, method="gram"),
            *dense_floor(weight, true),
            device=device,
            repeats=2 if weight.numel() > 2**21 else 8,
        )
        bound = matrix_norm(weight, rtol=ACCURACY)
        ratios = " ".join(f"{peer / ours:7.2f}" for peer in (svd, power, gram, half, product + factor))
        loose = bound.upper / bound.lower - 1
        print(f"{name:>18} {ours * 1e3:8.1f} {ratios} {loose:8.1e} {bound.slack:8.1e}")


def fourier_svd(weight: torch.Tensor, size: int) -> float:
    """The largest singular value over every eighth block of half the frequencies of the image's size."""
    blocks = torch.fft.rfft2(weight, s=(size, size)).flatten(2).permute(2, 0, 1)[::TIMED]
    return max(float(torch.linalg.svdvals(part)[:, 0].max()) for part in blocks.split(64))


def fourier_gram(weight: torch.Tensor, size: int) -> float:
    """Gram iteration on the blocks of the circular convolution of the image's size, in complex64."""
    largest = 0.0
    for part in torch.fft.rfft2(weight.float(), s=(size, size)).flatten(2).permute(2, 0, 1).split(64):
        blocks, logarithm = part.contiguous(), torch.zeros(len(part), device=part.device)
        for _ in range(8):
            norm = torch.linalg.matrix_norm(blocks)
            blocks = blocks / norm[:, None, None]
            blocks = blocks.mH @ blocks
            logarithm = 2 * (logarithm + norm.log())
        logarithm = logarithm + torch.linalg.matrix_norm(blocks).log()
        largest = max(largest, float((logarithm / 2**8).exp().max()))
    return largest


def floor(weight: torch.Tensor, size: int, device: torch.device) -> float:
    """Seconds that a block and a factorisation at each frequency of the least torus take at the rates measured here."""
    gram, count = symbol(weight.numpy()[np.newaxis]), 32
    places = np.stack([np.arange(count)] * 2, axis=1)
    group, buffer = np.zeros(count, dtype=np.int64), np.empty((count, gram.parts.shape[2]))

    def test() -> None:
        minus = gram.blocks(places, np.array([size, size]), group, sign=-1.0, out=buffer)
        positive_definite(minus, np.full(count, 1e6))

    return best(test, device=device)[0] * (size + 1) * (size // 2 + 1) / count


def convolution(generator: torch.Generator, device: torch.device) -> None:
    header = " ".join(f"{name:>7}" for name in ("FFT+SVD", "half", "8 Gram", "floor"))
    print(f"{'convolution 3x3':>18} {'ours/ms':>8} {header} {'errs':>8} {'loose':>8}")
    for channels, size in ((64, 32), (256, 32)):
        weight = torch.randn(channels, channels, 3, 3, generator=generator, dtype=torch.float64)
        there = weight.to(device)
        repeats = 3 if channels < 128 else 2
        ours, svd, gram = best(
            partial(conv_norm, weight, size, padding=1),
            partial(fourier_svd, there, size),
            partial(fourier_gram, there, size),
            device=device,
            repeats=repeats,
        )
        torus = conv_norm(weight, size, padding=1, padding_mode="circular")
        errs, loose = fourier_gram(there, size) / torus.upper - 1, torus.upper / torus.lower - 1
        half = svd * TIMED
        full = half * size / (size // 2 + 1)
        ratios = " ".join(f"{peer / ours:7.2f}" for peer in (full, half, gram, floor(weight, size, device)))
        print(f"{f'{channels} @{size}':>18} {ours * 1e3:8.1f} {ratios} {errs:8.1e} {loose:8.1e}")
        sizes = (56, 112, 224, None)
        times = best(
            *(partial(conv_norm, weight, n, padding=1) for n in (size, *sizes)), device=device, repeats=repeats
        )
        text = ", ".join(f"{n or 'any size'}: {t / times[0]:.2f}" for n, t in zip(sizes, times[1:], strict=True))
        print(f"{'':>18} time over that at {size}: {text}")


def network() -> None:
    """He et al., CVPR 2016, with 1,000 classes and every rule tried (``auto``)."""
    resnet = shaken(ResNet(Bottleneck, [3, 4, 6, 3], 64, cifar=False, classes=1000))
    graph = read_onnx(export(resnet, (3, 224, 224), dynamo=False, opset=17, dynamic=True))
    started = time.process_time()
    network_bound(graph)
    print(f"ResNet-50 at 224: {spent(started)}")


def largest_layer() -> None:
    weight = torch.randn(512, 512, 3, 3, generator=torch.Generator().manual_seed(0))
    started = time.process_time()
    conv_norm(weight, 224, padding=1)
    print(f"512x512x3x3 at 224: {spent(started)}")


def spent(started: float) -> str:
    """Since then, in this process. Of memory the kernel's own mark: that of `getrusage` is the parent's at first."""
    seconds = time.process_time() - started
    [mark] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return f"{seconds:.1f} s of CPU, at most {int(mark.split()[1]) / 2**20:.2f} GiB resident, libraries included"


def autograd_gram_norm(weight: torch.Tensor, steps: int) -> torch.Tensor:
    """As a training loop would write it; of a stack of blocks, the largest."""
    logarithm = torch.zeros((), device=weight.device)
    for _ in range(steps):
        norm = torch.linalg.matrix_norm(weight, keepdim=True)
        weight = weight / norm
        weight = weight.mH @ weight
        logarithm = 2 * (logarithm + norm.log())
    bound: torch.Tensor = ((logarithm + torch.linalg.matrix_norm(weight, keepdim=True).log()) / 2**steps).exp().max()
    return bound


def gradients(generator: torch.Generator, device: torch.device) -> None:
    print(f"{'gradient, 8 steps':>24} {'ours/ms':>8} {'autograd/ms':>12} {'ratio':>6}")
    cases: list[tuple[tuple[int, ...], int | None]] = [((256, 256), None), ((1024, 1024), None), ((64, 64, 3, 3), 32)]
    for shape, size in cases:
        weight = torch.randn(shape, generator=generator).to(device).requires_grad_()
        torus = None if size is None else (size, size)

        def ours(weight: torch.Tensor = weight, torus: tuple[int, int] | None = torus) -> None:
            torch.autograd.grad(gram_norm(weight, steps=8, torus=torus), weight)

        def peer(weight: torch.Tensor = weight, torus: tuple[int, int] | None = torus) -> None:
            blocks = weight if torus is None else torch.fft.rfft2(weight, s=torus).flatten(2).permute(2, 0, 1)
            torch.autograd.grad(autograd_gram_norm(blocks, 8), weight)

        own, other = best(ours, peer, device=device)
        name = "x".join(map(str, shape)) + ("" if size is None else f" @{size}")
        print(f"{name:>24} {own * 1e3:8.1f} {other * 1e3:12.1f} {other / own:6.2f}")


def main() -> None:
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit(
            "Set OMP_NUM_THREADS=1 first: NumPy, SciPy and torch each bring a BLAS, and all should use one."
        )
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    device = torch.device(parser.parse_args().device)
    generator = torch.Generator().manual_seed(0)
    if device.type == "cuda":
        print(f"On {torch.cuda.get_device_name(device)}: dense layers, peers of convolutions, gradients.")
        print("On the CPU: ours of convolutions and their floor, the whole network, the largest layer.")
    dense(generator, device)
    convolution(generator, device)
    for alone in (network, largest_layer):
        child = multiprocessing.get_context("spawn").Process(target=alone)
        child.start()
        child.join()
    gradients(generator, device)


if __name__ == "__main__":
    main()
