"""Gaussian noise: l2 radii (Cohen et al. 2019), of one side or two.

torch's own CPU ``randn`` will not do for inputs that are on no grid: it takes 32 bits of a seed, so streams of
different inputs would meet, and it draws nothing past |z| = 5.77. Measured on one core, a value: torch.randn 2.6 ns;
numpy's ziggurat 7 ns; this 2.1 ns. Formulas: docs/numerics.md 4.2 and 6.2.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from radii.laws.base import COARSE, Law, log_size, unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from radii.laws.base import Values

NDTRI_SLACK = 1e-9


def z_lower(q: float) -> float:
    """A lower bound of ``Phi^-1(1 - q)``, 0 < q < 1."""
    from scipy.special import ndtri

    z = -float(ndtri(q))
    return z - NDTRI_SLACK * abs(z)


class Gaussian(Law):
    """Box and Muller: ``sqrt(-2 log u) (cos v, sin v)``. u has 63 bits: values reach |z| = 9.3."""

    name = "gaussian"
    norm = "l2"
    two_sided = True
    reach = 8.4
    missing = COARSE  # a pair has one u, but may be of two samples
    generator = "sfc64-box-muller-f32"
    fused = "box-muller"

    def stretch(self, sigma: float) -> float:
        return sigma

    def ideal(self, miss: float, stretch: float) -> float:
        return -stretch * NormalDist().inv_cdf(miss)

    def radius(self, miss: float, stretch: float) -> float:
        return stretch * z_lower(miss)

    def most_misses(self, radius: float, stretch: float) -> float:
        from scipy.special import ndtr

        # 1e-9 covers the division and ndtr
        return float(ndtr(-(radius / stretch) * (1 + 1e-9))) * (1 - 1e-9)

    def cdf(self, z: Values) -> Values:
        import numpy as np
        from scipy.special import ndtr

        return np.asarray(ndtr(z))

    def values(self, bits: np.random.SFC64, out: npt.NDArray[np.float32]) -> None:
        import numpy as np

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

    def of_words(self, word: npt.NDArray[np.uint64]) -> Values:
        import numpy as np

        half = word.shape[1] // 2
        distance, angle = np.sqrt(2 * log_size(word)[:, :half]), math.pi * unit(word)[:, half:]
        return np.concatenate([distance * np.cos(angle), distance * np.sin(angle)], axis=1)
