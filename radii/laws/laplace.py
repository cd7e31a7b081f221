"""Laplace noise: l1 radii (Teng et al. 2020; Yang et al. 2020, arXiv 2002.08118).
Formulas: docs/numerics.md 4.3 and 6.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from radii.laws.base import COARSE, SLACK, Law, log_size, unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from radii.laws.base import Values


class Laplace(Law):
    """Density ``exp(-|v|/b)/(2 b)``, ``b = sigma/sqrt(2)``, the mean distance from 0: ``-log u`` with a sign.

    u has 63 bits: values reach |v| = 43.6 b.
    """

    name = "laplace"
    norm = "l1"
    reach = 27.0
    missing = COARSE
    generator = "sfc64-log-f32"
    fused = "log"

    def stretch(self, sigma: float) -> float:
        return sigma / math.sqrt(2)

    def ideal(self, miss: float, stretch: float) -> float:
        return -stretch * math.log(2 * miss)

    def most_misses(self, radius: float, stretch: float) -> float:
        return math.exp(-radius / stretch * (1 + SLACK)) / 2 * (1 - SLACK)

    def cdf(self, z: Values) -> Values:
        import numpy as np

        tail = np.exp(-math.sqrt(2) * np.abs(z)) / 2
        return np.where(z < 0, tail, 1 - tail)

    def values(self, bits: np.random.SFC64, out: npt.NDArray[np.float32]) -> None:
        import numpy as np

        raw = bits.random_raw(len(out)).view(np.int64)
        np.multiply(raw, np.float32(2**-63), out=out, dtype=np.float32, casting="unsafe")
        np.abs(out, out=out)
        np.maximum(out, np.float32(2**-64), out=out)
        np.log(out, out=out)  # not positive: the magnitude with a minus sign
        np.multiply(out, np.where(raw < 0, np.float32(1), np.float32(-1)), out=out)

    def of_words(self, word: npt.NDArray[np.uint64]) -> Values:
        import numpy as np

        return np.asarray(np.copysign(log_size(word), unit(word)))
