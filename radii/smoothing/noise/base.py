"""What all noises have in common: a stream is a pure function of 32 bytes and of x's shape."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

Fill = Callable[[torch.Tensor], None]
"""Overwrites a contiguous float32 tensor (batch, *shape) with the next noisy copies of the input."""


class Part(NamedTuple):
    """A part of one batch or of several: the first ``size`` noisy copies of the stream of ``seed`` around ``x``."""

    seed: bytes
    x: torch.Tensor
    size: int


class Noise(Protocol):
    """A law of the noise, with its parameter, and the generator that draws it."""

    sigma: float
    """Standard deviation of an axis, in input units."""

    @property
    def law(self) -> str:
        """Its name in :data:`radii.laws.LAWS`, which tells what the votes are worth."""

    @property
    def name(self) -> str:
        """Law, generator and a check of its values: part of the noise key and of the certificate."""

    def tail_mass(self, dimension: int) -> float:
        """How far the law of ``dimension`` drawn values is from the one claimed (total variation), rounded up."""

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        """The noisy copies of one float32 input ``x`` (no batch axis) that ``seed`` stands for.

        However many a fill takes at a time, they are the same.
        """

    def streams(self, parts: Sequence[Part]) -> Fill:
        """The copies of several inputs of one shape, part after part; of each what its :meth:`stream` gives.

        A fill may begin and end within a part. Beyond the last one it leaves what was there.
        """


def sfc64(seed: bytes) -> np.random.SFC64:
    """Numpy's SFC64 with all its 256 bits of state set."""
    bits = np.random.SFC64(0)
    state = bits.state
    state["state"]["state"] = np.frombuffer(seed, "<u8").astype(np.uint64)
    bits.state = state
    return bits


def in_turn(noise: Noise, parts: Sequence[Part]) -> Fill:
    """``noise.streams`` for a source that draws one stream at a time."""
    waiting = iter(parts)
    stream: Fill | None = None
    left = 0

    def fill(out: torch.Tensor) -> None:
        nonlocal stream, left
        done = 0
        while done < len(out):
            if not left:
                part = next(waiting, None)
                if part is None:
                    return
                stream, left = noise.stream(part.seed, part.x), part.size
                continue
            assert stream is not None
            take = min(left, len(out) - done)
            stream(out[done : done + take])
            left -= take
            done += take

    return fill


class Tiles:
    """Whole samples from a generator that draws a fixed number at a time: what is left over waits for the next fill."""

    def __init__(self, tile: torch.Tensor, draw: Callable[[], None]) -> None:
        """``draw`` overwrites ``tile`` (samples, *shape)."""
        self.tile, self.draw = tile, draw
        self.used = len(tile)

    def __call__(self, out: torch.Tensor) -> None:
        done = 0
        while done < len(out):
            if self.used == len(self.tile):
                self.draw()
                self.used = 0
            take = min(len(self.tile) - self.used, len(out) - done)
            out[done : done + take] = self.tile[self.used : self.used + take]
            self.used += take
            done += take
