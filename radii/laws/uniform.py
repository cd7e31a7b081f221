"""Uniform noise: l1 radii (Yang et al. 2020, arXiv 2002.08118; Lee et al. 2019). Formulas: docs/numerics.md 4.3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from radii.laws.base import SLACK, Law, unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from radii.laws.base import Values


class Uniform(Law):
    """Uniform on ``[-sqrt(3) sigma, sqrt(3) sigma]``, from 32 bits a value; ``stretch`` is half its support."""

    name = "uniform"
    norm = "l1"
    reach = math.sqrt(3)
    missing = 0.0  # the bits reach both ends
    generator = "sfc64-f32"
    fused = "ratio"

    def stretch(self, sigma: float) -> float:
        return math.sqrt(3) * sigma

    def ideal(self, miss: float, stretch: float) -> float:
        return 2 * stretch * (0.5 - miss)

    def most_misses(self, radius: float, stretch: float) -> float:
        return 0.5 - radius / (2 * stretch) - SLACK

    def cdf(self, z: Values) -> Values:
        import numpy as np

        return np.asarray(np.clip(0.5 + z / (2 * math.sqrt(3)), 0.0, 1.0))

    def values(self, bits: np.random.SFC64, out: npt.NDArray[np.float32]) -> None:
        import numpy as np

        raw = bits.random_raw(len(out) // 2).view(np.int32)
        np.multiply(raw, np.float32(2**-31), out=out, dtype=np.float32, casting="unsafe")

    def of_words(self, word: npt.NDArray[np.uint64]) -> Values:
        return unit(word)
