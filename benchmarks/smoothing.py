"""Votes under noise: radii's loop against those of Cohen et al. and of ART, and against the forward pass alone.

    python -m benchmarks.smoothing

Every side runs in processes of its own, in turn, on one CPU thread, and keeps its least CPU time: the peers in a plain
environment, radii with the allocator settings that its workers give it (workers/child.py). Peers, from their published
code: Cohen et al. 2019 (smoothing/core.py, `_sample_noise`: a repeated input, `torch.randn_like`, votes counted in
Python), ART 1.x (RandomizedSmoothing, `_prediction_counts`: all n noisy copies in numpy, then batches of 128).
radii runs the network by the executor, and at the batch size, that its own search finds first.
"forward alone" is that on a ready batch, without noise or votes, in the workers' environment; "torch" is radii without
the search; "bfloat16" another classifier, the network in that precision; "sgemm" is what the network's multiply-adds
take at the rate of a large float32 matrix product: no loop around a forward pass by direct convolution, in float32, is
faster. Ratios above 1: radii is faster.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from radii.graph import Graph, read_onnx
from radii.smoothing import CHUNK, GridGaussian, count_chunk, gaussian
from radii.smoothing.executors import CHANNELS_LAST, START, TORCH, Execution, build, executors
from radii.smoothing.search import batch_sizes, fastest
from tests.graph.export import export
from tests.graph.plain import BasicBlock, ResNet, shaken
from workers.child import ALLOCATOR

SIGMA = 0.25
KEY = bytes(32)
CLASSES = 10
ROUNDS = 4
CPU = torch.device("cpu")
Classifier = Callable[[torch.Tensor], torch.Tensor]


def cohen(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> np.ndarray:
    with torch.no_grad():
        counts = np.zeros(CLASSES, dtype=int)
        for _ in range(math.ceil(num / batch_size)):
            this_batch_size = min(batch_size, num)
            num -= this_batch_size
            batch = x.repeat((this_batch_size, *([1] * x.ndim)))
            noise = torch.randn_like(batch) * SIGMA
            predictions = classifier(batch + noise).argmax(1)
            for index in predictions.cpu().numpy():
                counts[index] += 1
        return counts


def art(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> np.ndarray:
    copies = np.repeat(x.numpy()[np.newaxis], num, axis=0)
    copies = copies + np.random.default_rng(0).normal(scale=SIGMA, size=copies.shape).astype(np.float32)
    counts = np.zeros(CLASSES, dtype=int)
    with torch.no_grad():
        for start in range(0, num, batch_size):
            logits = classifier(torch.from_numpy(copies[start : start + batch_size])).cpu().numpy()
            one_hot = np.zeros_like(logits)
            one_hot[np.arange(len(logits)), logits.argmax(1)] = 1
            counts += one_hot.sum(axis=0).astype(int)
    return counts


def radii(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int, noise: str = "grid") -> np.ndarray:
    law = GridGaussian(SIGMA) if noise == "grid" else gaussian(SIGMA)
    counts = np.zeros(CLASSES + 1, dtype=int)
    for number in range(math.ceil(num / CHUNK)):
        counts += count_chunk(
            classifier,
            x,
            num_classes=CLASSES,
            noise=law,
            key=KEY,
            stage="estimate",
            number=number,
            size=min(CHUNK, num - number * CHUNK),
            batch_size=batch_size,
        )
    return counts


def floor(classifier: Classifier, x: torch.Tensor, num: int, batch_size: int) -> None:
    batch = x.repeat((batch_size, *([1] * x.ndim)))
    with torch.inference_mode():
        for start in range(0, num, batch_size):
            classifier(batch[: num - start])


def sgemm() -> float:
    """Seconds a multiply-add takes in the product of two large matrices."""
    left, right = torch.rand(2, 1024, 1024)
    best = math.inf
    for _ in range(10):
        start = time.process_time()
        torch.mm(left, right)
        best = min(best, time.process_time() - start)
    return best / 1024**3


SIDES = {  # and how they run the network: as it was, at a batch size; or by an executor
    "Cohen et al., batch 100": (cohen, 100),
    "Cohen et al., batch 400": (cohen, 400),
    "ART, batch 128": (art, 128),
    "radii, on the grid": (radii, None),
    "radii, Gaussian": (lambda *call: radii(*call, noise="gaussian"), None),
    "radii, torch": (radii, Execution(TORCH, START)),
    "radii, bfloat16": (radii, Execution(CHANNELS_LAST, START)),
    "forward alone": (floor, None),
    "sgemm": (None, None),
}


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
        nn.Linear(64 * 64, CLASSES),
    )


NETWORKS = {
    "small CNN, 32x32": (convolutional, 4000),
    "ResNet-18, 32x32": (lambda: ResNet(BasicBlock, [2, 2, 2, 2], cifar=True), 500),
}


def measure(network: str, side: str, chosen: str) -> float | dict[str, Any]:
    """Microseconds a sample, in this process; without a side, what radii's search finds, as the next ones need it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, num = NETWORKS[network]
    original = shaken(make())
    x = torch.randint(0, 256, (3, 32, 32)) / 255
    function, way = SIDES.get(side, (None, None))
    if isinstance(way, int):
        classifier: Classifier = original.eval()
        batch_size = way
    else:
        graph = read_onnx(export(original, (3, 32, 32), dynamo=False, opset=17, dynamic=True))
        if side == "sgemm":
            return sgemm() * graph.summary()["multiply_adds"] * 1e6
        if function is None:
            return asdict(search(graph, x))
        way = way or Execution(**json.loads(chosen))
        dtype = torch.bfloat16 if "bfloat16" in side else torch.float32
        classifier, batch_size = build(way.executor, graph, CPU, dtype), way.batch_size
    function(classifier, x, num // 4, batch_size)
    times = []
    for _ in range(2):
        start = time.process_time()
        function(classifier, x, num, batch_size)
        times.append(time.process_time() - start)
    return min(times) / num * 1e6


def search(graph: Graph, x: torch.Tensor) -> Execution:
    """As a worker does, for a million samples."""

    def draw(size: int) -> torch.Tensor:
        batch = torch.empty((size, *x.shape))
        GridGaussian(SIGMA).stream(KEY, x)(batch)
        return batch

    return fastest(
        executors(graph, CPU),
        lambda way: build(way.executor, graph, CPU, batch_size=way.batch_size),
        draw,
        sizes=batch_sizes(graph, CPU),
        samples=10**6,
    )


def child(network: str, side: str, chosen: str, *, ours: bool) -> Any:
    """What a process of its own measures."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(ALLOCATOR if ours else {})}
    command = [sys.executable, "-m", "benchmarks.smoothing", network, side, chosen]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    for network in NETWORKS:
        chosen = json.dumps(child(network, "", "", ours=True))
        best = dict.fromkeys(SIDES, math.inf)
        for _ in range(ROUNDS):
            for side, (_, way) in SIDES.items():
                best[side] = min(best[side], child(network, side, chosen, ours=not isinstance(way, int)))
        print(f"{network}, by {chosen}: microseconds a sample; ratio to radii on the grid, to radii Gaussian")
        for side, spent in best.items():
            ratios = (spent / best[f"radii, {noise}"] for noise in ("on the grid", "Gaussian"))
            print(f"  {side:24} {spent:10.1f} {' '.join(f'{ratio:7.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
