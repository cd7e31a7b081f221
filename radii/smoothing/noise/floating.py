"""Noise in floating point over SFC64, drawn on the CPU: for inputs that are on no grid.

One stream, whatever the law; a law says how raw bits become values. Logarithms and cosines may differ in their last bit
between processors and versions of numpy (NEP 19), so a name holds a digest of values.
"""

import functools
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from radii.norms import Law
from radii.smoothing import laws
from radii.smoothing.noise.base import Fill, Part, Tiles, in_turn, sfc64

COARSE = 2.0**-39
"""The part of a law's tail that is not drawn as finely as float32 rounds, where values follow from the logarithm of u.

u is the nearest multiple of 2^-63 to a number U that is uniform in (0, 1] (2^-64 for 0), so it is off by 2^-64 at most:
by less than 2^-25 of itself, half a unit of float32's last place, unless U < 2^-39. What U below that would give lies
further out than 7.35 (a pair's distance from 0, Gaussian) or 27 b (Laplace); all of it counts as missing.

At the other end, where u rounds to 1, float32 is coarse itself: once in 2^25 pairs, Gaussian values within 2.4e-4 of 0
become 0. Like every rounding of a value, that is part of what "ideal noise" leaves out; noise on the grid has none.
"""

TILE = 2**16  # values; less would be all overhead, more leaves the processor's cache


class Floating(ABC):
    """Noise of independent values an axis: ``stretch`` times what ``values`` draws."""

    law: ClassVar[Law]
    generator: ClassVar[str]
    sigma: float
    stretch: float

    def __init__(self, sigma: float) -> None:
        """Raises ValueError for a sigma that is not positive."""
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma: must be positive and finite, not {sigma}")
        self.sigma = self.stretch = sigma

    @property
    def name(self) -> str:
        return f"{self.law}/{self.generator}/{_check(type(self))}"

    @abstractmethod
    def tail_mass(self, dimension: int) -> float:
        """As of every noise."""

    @staticmethod
    @abstractmethod
    def values(bits: np.random.SFC64, out: np.ndarray) -> None:
        """Overwrites ``out`` (float32, even length) with values of the law at ``stretch`` 1."""

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        size = x.numel()
        samples = max(1, TILE // size)
        drawn = np.empty(2 * -(-samples * size // 2), np.float32)
        tile = torch.from_numpy(drawn[: samples * size]).view(samples, *x.shape)
        bits, mean, stretch = sfc64(seed), x.cpu().contiguous(), self.stretch

        def draw() -> None:
            self.values(bits, drawn)
            tile.mul_(stretch).add_(mean)

        return Tiles(tile, draw)

    def streams(self, parts: Sequence[Part]) -> Fill:
        return in_turn(self, parts)


@functools.cache
def _check(law: type[Floating]) -> str:
    drawn = np.empty(2**16, np.float32)
    law.values(sfc64(bytes(range(32))), drawn)
    return hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest()[:16]


class Uniform(Floating):
    """Uniform on ``[-sqrt(3) sigma, sqrt(3) sigma]``, from 32 bits a value."""

    law = "uniform"
    generator = "sfc64-f32"

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        self.stretch = laws.width(sigma)

    def tail_mass(self, dimension: int) -> float:
        return 0.0  # the bits reach both ends

    @staticmethod
    def values(bits: np.random.SFC64, out: np.ndarray) -> None:
        raw = bits.random_raw(len(out) // 2).view(np.int32)
        np.multiply(raw, np.float32(2**-31), out=out, dtype=np.float32, casting="unsafe")


class Laplace(Floating):
    """Density ``exp(-|v|/b)/(2 b)``, ``b = sigma/sqrt(2)``: ``-log u`` with a sign. u has 63 bits: to |v| = 43.6 b."""

    law = "laplace"
    generator = "sfc64-log-f32"

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        self.stretch = laws.scale(sigma)

    def tail_mass(self, dimension: int) -> float:
        return dimension * COARSE

    @staticmethod
    def values(bits: np.random.SFC64, out: np.ndarray) -> None:
        raw = bits.random_raw(len(out)).view(np.int64)
        np.multiply(raw, np.float32(2**-63), out=out, dtype=np.float32, casting="unsafe")
        np.abs(out, out=out)
        np.maximum(out, np.float32(2**-64), out=out)
        np.log(out, out=out)  # not positive: the magnitude with a minus sign
        np.multiply(out, np.where(raw < 0, np.float32(1), np.float32(-1)), out=out)
