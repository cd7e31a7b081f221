"""Bounds of whole networks by this checkout against another one of radii, in one run, on one thread:

    OMP_NUM_THREADS=1 python -m benchmarks.against PATH [--rounds 5] [--only ResNet]

PATH is a checkout with a ``.venv`` of its own. In every round each side bounds each network, in a process of its own
that has loaded all that it needs; the order of the two changes from round to round. ``ratio`` is ours to theirs, of the
least CPU seconds of each: above 1.05 we are slower. ``L`` is our bound over theirs: below 1, ours is sharper. (Against
dbc8471 the convolutions have 6.7: its bound of them is false, as CHANGELOG.md says.)
"""

import argparse
import json
import os
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from tests.graph.export import export
from tests.graph.plain import BasicBlock, Bottleneck, ResNet, shaken

HERE = Path(__file__).resolve().parent.parent
BOUND = """
import json, sys, time
from radii.graph import read_onnx
from radii.lipschitz import network_bound
found = {}
for file in sys.argv[1:]:
    graph, seconds = read_onnx(open(file, "rb").read()), []
    while len(seconds) < 2 or (sum(seconds) < 0.5 and len(seconds) < 8):
        started = time.process_time()
        bound = network_bound(graph)
        seconds.append(time.process_time() - started)
        if seconds[0] > 5:
            break
    found[file] = [min(seconds), bound.upper]
print(json.dumps(found))
"""


class Residual(nn.Module):
    """``x + U relu(V x)``, dense."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = x + self.outer(torch.relu(self.inner(x)))
        return made


def dense(*widths: int) -> nn.Module:
    layers = [part for n, m in pairwise(widths) for part in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def stack(channels: int, depth: int) -> nn.Module:
    """Convolutions of stride 1 and a dense layer."""
    convolutions = [nn.Conv2d(channels if i else 3, channels, 3, padding=1) for i in range(depth)]
    return nn.Sequential(
        *(part for layer in convolutions for part in (layer, nn.ReLU())), nn.Flatten(), nn.Linear(channels * 256, 10)
    )


def strided() -> nn.Module:
    """That of ``benchmarks.graph``."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Each with the shape of its input."""
    return {
        "dense 784-100x5-10": (dense(784, *[100] * 5, 10), (784,)),
        "dense 784-300x2-10": (dense(784, 300, 300, 10), (784,)),
        "dense 3072-256x2-10": (dense(3072, 256, 256, 10), (3072,)),
        "residual 64, 2 blocks": (nn.Sequential(Residual(64), Residual(64), nn.Linear(64, 10)), (64,)),
        "residual 256, 4 blocks": (nn.Sequential(*(Residual(256) for _ in range(4)), nn.Linear(256, 10)), (256,)),
        "strided CNN, 28x28": (strided(), (1, 28, 28)),
        "convolutions 32x3, 16x16": (stack(32, 3), (3, 16, 16)),
        "ResNet-18, 32x32": (ResNet(BasicBlock, [2, 2, 2, 2], cifar=False), (3, 32, 32)),
        "ResNet-50, 224x224": (ResNet(Bottleneck, [3, 4, 6, 3], 64, cifar=False, classes=1000), (3, 224, 224)),
    }


def bounded(checkout: Path, files: list[Path]) -> dict[str, tuple[float, float]]:
    """Of each file the CPU seconds and the bound, by the radii of a checkout."""
    python = checkout / ".venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", BOUND, *files], cwd=checkout, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=-1, check=True
    )
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="the networks with this in their name")
    arguments = parser.parse_args()
    sides = (HERE, arguments.checkout.resolve())
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for i, (name, (network, shape)) in enumerate(networks().items()):
            if arguments.only not in name:
                continue
            files[name] = Path(folder) / f"{i}.onnx"
            files[name].write_bytes(export(shaken(network), shape, dynamo=False, opset=17, dynamic=True))
        rounds = [
            {side: bounded(side, [*files.values()]) for side in (sides if turn % 2 else sides[::-1])}
            for turn in range(arguments.rounds)
        ]
    print(f"{'network':26} {'ours/s':>8} {'theirs/s':>8} {'ratio':>6} {'L':>8}")
    for name, file in files.items():
        ours, theirs = (min(found[side][str(file)][0] for found in rounds) for side in sides)
        upper, other = (rounds[0][side][str(file)][1] for side in sides)
        print(f"{name:26} {ours:8.3f} {theirs:8.3f} {ours / theirs:6.2f} {upper / other:8.4f}")


if __name__ == "__main__":
    main()
