"""A graph's module against the torch module it was exported from (eval mode), in the same process, on one CPU thread.

    python -m benchmarks.graph

Best of interleaved repeats. The ratio is ours to the original's: at most 1.05 is the target; below 1 radii is faster,
since BatchNorm is folded into the convolutions.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from radii.graph import read_onnx, to_module
from tests.graph.export import export
from tests.graph.plain import BasicBlock, ResNet, shaken


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


def small() -> nn.Module:
    """28x28 to 10 classes, without BatchNorm: nothing to fold, so that the loop's own cost shows."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases = [
        ("small CNN, 28x28", small(), (1, 28, 28), 300),
        ("ResNet-18, 32x32", ResNet(BasicBlock, [2, 2, 2, 2], cifar=False), (3, 32, 32), 15),
    ]
    print("network            batch  torch ms   radii ms   ratio")
    for name, network, shape, repeats in cases:
        network = shaken(network)
        module = to_module(read_onnx(export(network, shape, dynamo=False, opset=17, dynamic=True)))
        for batch in (1, 100):
            x = torch.rand(batch, *shape)
            with torch.inference_mode():
                peer, own = best(partial(network, x), partial(module, x), repeats=repeats if batch > 1 else 5 * repeats)
            print(f"{name:18} {batch:5} {peer * 1e3:9.3f} {own * 1e3:10.3f} {own / peer:7.2f}")


if __name__ == "__main__":
    main()
