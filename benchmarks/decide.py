"""Decisions against radii on the digits networks: what is certified, lost and undecided, and of how many samples.

    python -m benchmarks.decide [--targets R ...] [--inputs N]

All test digits, sigma 0.25, alpha 0.001, the noise of a fixed key. "lost": certified by mode radius at n = 10,000, not
by the decision at n = 100,000. "times fewer": n over the mean number of samples; the pilot's are in neither. Some ten
minutes on one thread: a chunk of an input is counted once, whoever asks.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radii.graph import read_onnx, to_module
from radii.smoothing import (
    CountChunk,
    certify_decision,
    certify_radius,
    count_chunk,
    gaussian,
    input_digest,
    noise_key,
)

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
NOISE = gaussian(0.25)
N, N_RADIUS = 100_000, 10_000
COLUMNS = "{:18}{:>8}{:>11}{:>15}{:>11}{:>18}{:>6}{:>13}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.1, 0.25, 0.375, 0.5])
    parser.add_argument("--inputs", type=int, default=450)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    heads = ("network", "target", "certified", "not certified", "undecided", "radius at 10,000", "lost", "times fewer")
    print(COLUMNS.format(*heads))
    for name in ("digits", "digits-lipschitz"):
        network = to_module(read_onnx((DIGITS / f"{name}.onnx").read_bytes())).eval()
        found: dict[float, Counter[str]] = {target: Counter() for target in asked.targets}
        for x in np.load(DIGITS / "digits.npz")["x"][: asked.inputs]:
            key = noise_key(
                bytes(32), model_digest=name, input_digest=input_digest(x), noise=NOISE.name, sigma=NOISE.sigma
            )
            chunk = partial(count_chunk, network, torch.from_numpy(x), num_classes=10, noise=NOISE, key=key)
            compared(cache(partial(counted, chunk)), NOISE.tail_mass(x.size), found)
        for target, figures in found.items():
            said = (figures[answer] for answer in ("certified", "not certified", "undecided", "radius", "lost"))
            fewer = N * asked.inputs / figures["samples"]
            print(COLUMNS.format(name, target, *said, f"{fewer:.0f}"), flush=True)


def counted(chunk: Callable[..., Any], stage: str, number: int, size: int) -> Any:
    return chunk(stage=stage, number=number, size=size, batch_size=100)


def compared(count: CountChunk, tail_mass: float, found: dict[float, Counter[str]]) -> None:
    """Adds what both modes say of one input to the figures of each target."""
    law: dict[str, Any] = {"n0": 100, "alpha": 0.001, "sigma": NOISE.sigma, "tail_mass": tail_mass}
    radius = certify_radius(count, n=N_RADIUS, **law).radius or 0.0
    for target, figures in found.items():
        row = certify_decision(count, target_radius=target, n=N, **law)
        figures[str(row.decision)] += 1
        figures["samples"] += row.n
        figures["radius"] += radius >= target
        figures["lost"] += radius >= target and row.decision != "certified"


if __name__ == "__main__":
    main()
