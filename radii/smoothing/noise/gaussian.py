"""Gaussian noise in floating point, for inputs that are on no grid.

torch's own CPU ``randn`` will not do: it takes 32 bits of a seed, so streams of different inputs would meet, and it
draws nothing past |z| = 5.77. Measured on one core, a value: torch.randn 2.6 ns; numpy's ziggurat 7 ns; this 2.1 ns.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from radii.norms import Law
from radii.smoothing.noise.base import Fill, Noise, Part, Tiles, in_turn
from radii.smoothing.noise.floating import Floating


def _tail_mass(dimension: int) -> float:
    """Of every source here: votes on one input may be of samples of several (a CPU takes over what a GPU began, or
    finds its votes in the ledger), so each answers for the shortest tail.

    Box-Muller: a pair's distance from 0 is sqrt(-2 log U), the shortest with U of 32 bits (cuRAND: U >= 2^-33, so
    |z| <= 6.76). The plane beyond has mass min U; an axis alone, P(|Z| > 6.76), would be too little by a factor of 4.
    """
    return math.ceil(dimension / 2) * 2.0**-32


class BoxMuller(Floating):
    """``sqrt(-2 log u) (cos v, sin v)`` in float32 over SFC64, on the CPU. u has 63 bits: values reach |z| = 9.3."""

    law = "gaussian"
    generator = "sfc64-box-muller-f32"

    def tail_mass(self, dimension: int) -> float:
        return _tail_mass(dimension)

    @staticmethod
    def values(bits: np.random.SFC64, out: np.ndarray) -> None:
        half = len(out) // 2
        cosine, sine = out[:half], out[half:]
        raw = bits.random_raw(half + (half + 1) // 2)
        distance = np.empty(half, np.float32)
        angle = np.empty(half, np.float32)
        np.multiply(raw[:half].view(np.int64), np.float32(2**-63), out=distance, dtype=np.float32, casting="unsafe")
        np.abs(distance, out=distance)
        np.maximum(distance, np.float32(2**-64), out=distance)
        np.log(distance, out=distance)
        np.multiply(distance, np.float32(-2), out=distance)
        np.sqrt(distance, out=distance)
        turns = raw[half:].view(np.int32)[:half]
        np.multiply(turns, np.float32(math.pi * 2**-31), out=angle, dtype=np.float32, casting="unsafe")
        np.cos(angle, out=cosine)
        np.multiply(cosine, distance, out=cosine)
        np.sin(angle, out=sine)
        np.multiply(sine, distance, out=sine)


class DeviceGaussian:
    """torch's generator of an accelerator (CUDA: Philox and Box-Muller), keyed with 64 bits.

    Which thread draws which value depends on the size of the call and on the device, so values are always drawn
    for ``SAMPLES`` samples at once, and the name holds the device and torch's version.
    """

    law: Law = "gaussian"
    SAMPLES = 50

    def __init__(self, sigma: float, device: torch.device) -> None:
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma: must be positive and finite, not {sigma}")
        self.sigma, self.device = sigma, device

    @property
    def name(self) -> str:
        model = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"gaussian/torch-{torch.__version__}-f32/{model}"

    def tail_mass(self, dimension: int) -> float:
        return _tail_mass(dimension)

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        generator = torch.Generator(self.device).manual_seed(int.from_bytes(seed[:8], "little"))
        tile = torch.empty((self.SAMPLES, *x.shape), dtype=torch.float32, device=self.device)
        sigma = self.sigma

        def draw() -> None:
            tile.normal_(generator=generator)
            torch.add(x, tile, alpha=sigma, out=tile)

        return Tiles(tile, draw)

    def streams(self, parts: Sequence[Part]) -> Fill:
        return in_turn(self, parts)


def gaussian(sigma: float, device: torch.device | str = "cpu") -> Noise:
    """N(0, sigma^2 I) on a device. Raises ValueError where there is no generator whose tail is known."""
    device = torch.device(device)
    if device.type == "cpu":
        return BoxMuller(sigma)
    if device.type == "cuda":
        return DeviceGaussian(sigma, device)
    raise ValueError(f"device: noise is drawn on cpu and cuda, not on {device.type}; move the input to the CPU")
