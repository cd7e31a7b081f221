"""Where the Gaussian noise comes from.

torch's own CPU ``randn`` will not do: it takes 32 bits of a seed, so streams of different inputs would meet, and
it draws nothing past |z| = 5.77. Measured on one core, a sample: torch.randn 2.4 ns; numpy's ziggurat over SFC64
6.8 ns, PCG64DXSM 7.8 ns, Philox 8.4 ns. SFC64 takes a 256-bit state. A Box-Muller in torch operations would take
3.3 ns, but its logarithms and cosines differ between processors; the ziggurat is a table and a product.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

Fill = Callable[[torch.Tensor], None]
"""Overwrites a contiguous float32 tensor with the next standard normal values of a stream."""


class NoiseSource(Protocol):
    """Standard normal streams, each a pure function of a 32-byte seed."""

    @property
    def name(self) -> str:
        """Changes whenever the streams may: it is part of the noise key and of the certificate."""

    def tail_mass(self, dimension: int) -> float:
        """Mass of the ``dimension``-dimensional Gaussian outside all that the source can draw, rounded up."""

    def stream(self, seed: bytes, shape: tuple[int, ...]) -> Fill:
        """The stream of ``seed`` for samples of ``shape``; each fill takes one or more whole samples."""


class ZigguratNoise:
    """numpy's float32 ziggurat over SFC64, on the CPU. Values reach |z| = 8.2."""

    @functools.cached_property
    def name(self) -> str:
        # numpy does not promise its streams across versions (NEP 19); this says when one really changed.
        # 2^16 values reach every branch: the body, the wedges and the tail.
        values = np.empty(2**16, np.float32)
        self.stream(bytes(range(32)), ())(torch.from_numpy(values))
        check = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        return f"gaussian/sfc64-ziggurat-f32/{check[:16]}"

    def tail_mass(self, dimension: int) -> float:
        # The tail is 3.654 + E/3.654 with E = -log U, U of 24 bits: up to 8.207. Beyond 8 lies 1.3e-15 an axis.
        return dimension * math.erfc(8 / math.sqrt(2))

    def stream(self, seed: bytes, shape: tuple[int, ...]) -> Fill:
        bits = np.random.SFC64(0)
        state = bits.state
        state["state"]["state"] = np.frombuffer(seed, "<u8").astype(np.uint64)
        bits.state = state
        generator = np.random.Generator(bits)

        def fill(out: torch.Tensor) -> None:
            generator.standard_normal(dtype=np.float32, out=out.numpy())

        return fill


class DeviceNoise:
    """torch's generator of an accelerator (CUDA: Philox and Box-Muller), keyed with 64 bits.

    Which thread draws which value depends on the size of the call and on the device, so values are always drawn
    for ``TILE`` samples at once, and the name holds the device and torch's version.
    """

    TILE = 50

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def name(self) -> str:
        model = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"gaussian/torch-{torch.__version__}-f32/{model}"

    def tail_mass(self, dimension: int) -> float:
        # Box-Muller: a pair's distance from 0 is sqrt(-2 log U), U of 32 bits (cuRAND: U >= 2^-33, so |z| <= 6.76).
        # The plane beyond has mass min U; an axis alone, P(|Z| > 6.76), would be too little by a factor of 4.
        return math.ceil(dimension / 2) * 2.0**-32

    def stream(self, seed: bytes, shape: tuple[int, ...]) -> Fill:
        generator = torch.Generator(self.device).manual_seed(int.from_bytes(seed[:8], "little"))
        tile = torch.empty((self.TILE, *shape), dtype=torch.float32, device=self.device)
        used = self.TILE

        def fill(out: torch.Tensor) -> None:
            nonlocal used
            done = 0
            while done < len(out):
                if used == self.TILE:
                    tile.normal_(generator=generator)
                    used = 0
                take = min(self.TILE - used, len(out) - done)
                out[done : done + take] = tile[used : used + take]
                used += take
                done += take

        return fill


_ZIGGURAT = ZigguratNoise()


def noise_source(device: torch.device | str) -> NoiseSource:
    """The noise source of a device. Raises ValueError where there is none whose tail is known."""
    device = torch.device(device)
    if device.type == "cpu":
        return _ZIGGURAT
    if device.type == "cuda":
        return DeviceNoise(device)
    raise ValueError(f"device: noise is drawn on cpu and cuda, not on {device.type}; move the input to the CPU")
