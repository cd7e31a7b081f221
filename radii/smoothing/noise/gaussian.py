"""Gaussian noise in floating point, for inputs that are on no grid.

torch's own CPU ``randn`` will not do: it takes 32 bits of a seed, so streams of different inputs would meet, and it
draws nothing past |z| = 5.77. Measured on one core, a value: torch.randn 2.6 ns; numpy's ziggurat 7 ns; this 2.1 ns.
"""

import functools
import hashlib
import math

import numpy as np
import torch

from radii.smoothing.noise.base import Fill, Noise, Tiles, sfc64

TILE = 2**16  # values; less would be all overhead, more leaves the processor's cache


class BoxMuller:
    """``sqrt(-2 log u) (cos v, sin v)`` in float32 over SFC64, on the CPU. u has 63 bits: values reach |z| = 9.3."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    @property
    def name(self) -> str:
        return f"gaussian/{_check()}"

    def tail_mass(self, dimension: int) -> float:
        # A pair's distance from 0 is sqrt(-2 log u), u in multiples of 2^-63: beyond lies the mass of u < 2^-63.
        return math.ceil(dimension / 2) * 2.0**-62

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        size = x.numel()
        samples = max(1, TILE // size)
        half = -(-samples * size // 2)
        values = np.empty(2 * half, np.float32)
        tile = torch.from_numpy(values[: samples * size]).view(samples, *x.shape)
        bits, mean, sigma = sfc64(seed), x.contiguous(), self.sigma

        def draw() -> None:
            pairs(bits, values)
            tile.mul_(sigma).add_(mean)

        return Tiles(tile, draw)


def pairs(bits: np.random.SFC64, out: np.ndarray) -> None:
    """Overwrites ``out`` (float32, even length) with standard normal values."""
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


@functools.cache
def _check() -> str:
    # Logarithms and cosines may differ in their last bit between processors and versions of numpy (NEP 19); this tells.
    values = np.empty(2**16, np.float32)
    pairs(sfc64(bytes(range(32))), values)
    return f"sfc64-box-muller-f32/{hashlib.sha256(values.astype('<f4').tobytes()).hexdigest()[:16]}"


class DeviceGaussian:
    """torch's generator of an accelerator (CUDA: Philox and Box-Muller), keyed with 64 bits.

    Which thread draws which value depends on the size of the call and on the device, so values are always drawn
    for ``SAMPLES`` samples at once, and the name holds the device and torch's version.
    """

    SAMPLES = 50

    def __init__(self, sigma: float, device: torch.device) -> None:
        self.sigma, self.device = sigma, device

    @property
    def name(self) -> str:
        model = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"gaussian/torch-{torch.__version__}-f32/{model}"

    def tail_mass(self, dimension: int) -> float:
        # Box-Muller: a pair's distance from 0 is sqrt(-2 log U), U of 32 bits (cuRAND: U >= 2^-33, so |z| <= 6.76).
        # The plane beyond has mass min U; an axis alone, P(|Z| > 6.76), would be too little by a factor of 4.
        return math.ceil(dimension / 2) * 2.0**-32

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        generator = torch.Generator(self.device).manual_seed(int.from_bytes(seed[:8], "little"))
        tile = torch.empty((self.SAMPLES, *x.shape), dtype=torch.float32, device=self.device)
        sigma = self.sigma

        def draw() -> None:
            tile.normal_(generator=generator)
            torch.add(x, tile, alpha=sigma, out=tile)

        return Tiles(tile, draw)


def gaussian(sigma: float, device: torch.device | str = "cpu") -> Noise:
    """N(0, sigma^2 I) on a device. Raises ValueError where there is no generator whose tail is known."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma: must be positive and finite, not {sigma}")
    device = torch.device(device)
    if device.type == "cpu":
        return BoxMuller(sigma)
    if device.type == "cuda":
        return DeviceGaussian(sigma, device)
    raise ValueError(f"device: noise is drawn on cpu and cuda, not on {device.type}; move the input to the CPU")
