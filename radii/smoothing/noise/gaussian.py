"""Gaussian noise in floating point, for inputs that are on no grid, drawn on the CPU.

torch's own CPU ``randn`` will not do: it takes 32 bits of a seed, so streams of different inputs would meet, and it
draws nothing past |z| = 5.77. Measured on one core, a value: torch.randn 2.6 ns; numpy's ziggurat 7 ns; this 2.1 ns.
"""

import math

import numpy as np

from radii.smoothing.noise.floating import COARSE, Floating


class BoxMuller(Floating):
    """``sqrt(-2 log u) (cos v, sin v)`` in float32 over SFC64, on the CPU. u has 63 bits: values reach |z| = 9.3."""

    law = "gaussian"
    generator = "sfc64-box-muller-f32"

    def tail_mass(self, dimension: int) -> float:
        return dimension * COARSE  # a pair has one u, but may be of two samples

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
