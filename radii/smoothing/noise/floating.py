"""Noise in floating point over SFC64, drawn on the CPU: for inputs that are on no grid.

One stream, whatever the law; a law says how raw bits become values. Logarithms and cosines may differ in their last bit
between processors and versions of numpy (NEP 19), so a name holds a digest of values. Formulas: docs/numerics.md 6.2.
"""

import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch

from radii.laws import Law
from radii.smoothing.noise.base import Fill, Part, Tiles, in_turn, sfc64

TILE = 2**16  # values; less would be all overhead, more leaves the processor's cache


class Floating:
    """Noise of independent values an axis: ``stretch`` times what the law's ``values`` draws."""

    def __init__(self, law: Law, sigma: float) -> None:
        """Raises ValueError for a sigma that is not positive."""
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma: must be positive and finite, not {sigma}")
        self.of, self.sigma, self.stretch = law, sigma, law.stretch(sigma)

    @property
    def law(self) -> str:
        return self.of.name

    @property
    def name(self) -> str:
        return f"{self.law}/{self.of.generator}/{_check(self.of)}"

    def tail_mass(self, dimension: int) -> float:
        return dimension * self.of.missing

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        size = x.numel()
        samples = max(1, TILE // size)
        drawn = np.empty(2 * -(-samples * size // 2), np.float32)
        tile = torch.from_numpy(drawn[: samples * size]).view(samples, *x.shape)
        bits, mean, stretch = sfc64(seed), x.cpu().contiguous(), self.stretch

        def draw() -> None:
            self.of.values(bits, drawn)
            tile.mul_(stretch).add_(mean)

        return Tiles(tile, draw)

    def streams(self, parts: Sequence[Part]) -> Fill:
        return in_turn(self, parts)


@functools.cache
def _check(law: Law) -> str:
    drawn = np.empty(2**16, np.float32)
    law.values(sfc64(bytes(range(32))), drawn)
    return hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest()[:16]
