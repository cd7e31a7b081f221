"""Votes under noise: radii's loop against the one of Cohen et al. 2019, in the same process, on one CPU thread.

    python -m benchmarks.smoothing

The peer is ``Smooth._sample_noise`` of their published code (smoothing/core.py), with its batch of 400: a repeated
input, ``torch.randn_like``, a synchronisation a batch, votes counted in Python. Best of interleaved repeats;
ratios above 1 mean that radii is faster. Ours has full tails and 256-bit keys, torch's CPU noise has neither.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from radii.smoothing import CHUNK, GridGaussian, count_chunk, gaussian

SIGMA = 0.25
KEY = bytes(32)
Classifier = Callable[[torch.Tensor], torch.Tensor]


def cohen(classifier: Classifier, x: torch.Tensor, num_classes: int, num: int) -> np.ndarray:
    with torch.no_grad():
        counts = np.zeros(num_classes, dtype=int)
        for _ in range(math.ceil(num / 400)):
            this_batch_size = min(400, num)
            num -= this_batch_size
            batch = x.repeat((this_batch_size, *([1] * x.ndim)))
            noise = torch.randn_like(batch) * SIGMA
            predictions = classifier(batch + noise).argmax(1)
            for index in predictions.cpu().numpy():
                counts[index] += 1
        return counts


def ours(classifier: Classifier, x: torch.Tensor, num_classes: int, num: int, batch_size: int) -> np.ndarray:
    call = {"num_classes": num_classes, "noise": gaussian(SIGMA), "key": KEY, "stage": "estimate", "size": CHUNK}
    chunks = range(num // CHUNK)
    return sum(count_chunk(classifier, x, number=number, batch_size=batch_size, **call) for number in chunks)


def best(*functions: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each: the least of interleaved repeats, after one to warm up."""
    times = [math.inf] * len(functions)
    for repeat in range(repeats + 1):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if repeat:
                times[i] = min(times[i], time.perf_counter() - start)
    return times


def convolutional() -> nn.Module:
    """32x32x3 to 10 classes; 4 million multiply-adds."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 64, 10),
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out = torch.empty(100, 3, 32, 32)
    x = torch.randint(0, 256, (3, 32, 32)) / 255
    fills = [noise.stream(KEY, x) for noise in (gaussian(SIGMA), GridGaussian(SIGMA))]
    calls = [lambda: x + torch.randn(out.shape) * SIGMA, *(partial(fill, out) for fill in fills)]
    peer, own, grid = best(*calls, repeats=30)
    names = ("torch.randn", "radii, Gaussian", "radii, on the grid")
    for name, seconds in zip(names, (peer, own, grid), strict=True):
        print(f"x + noise, {name}: {seconds / out.numel() * 1e9:.2f} ns a value, ratio {peer / seconds:.2f}")
    cases = [
        ("linear, 20 values", nn.Linear(20, 2), torch.rand(20), 2, 50_000),
        ("CNN, 3x32x32", convolutional(), torch.rand(3, 32, 32), 10, 4_000),
    ]
    for name, net, x, num_classes, num in cases:
        net.eval()
        sizes = (32, 100, 400, 1000)
        loops = [partial(ours, net, x, num_classes, num, size) for size in sizes]
        peer, *times = best(partial(cohen, net, x, num_classes, num), *loops, repeats=4)
        print(f"{name}: Cohen et al. {peer / num * 1e6:.1f} us a sample")
        for size, seconds in zip(sizes, times, strict=True):
            print(f"  radii, batch {size:4}: {seconds / num * 1e6:7.1f} us a sample, ratio {peer / seconds:.2f}")


if __name__ == "__main__":
    main()
