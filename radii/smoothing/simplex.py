"""Maps from logits to scores on the simplex, and how steep their scores are. NumPy alone, no torch.
Formulas: docs/numerics.md 5.1.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

Map = Literal["hardmax", "softmax", "sparsemax"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scoring:
    """A map, and the factor that the logits are multiplied with before it (of hardmax, which has none: 1)."""

    map: Map
    factor: float = 1.0

    def scores(self, logits: npt.NDArray[np.floating]) -> Floats:
        """The float64 scores (samples, classes + 1) of logits (samples, classes); they lie in [0, 1] and add up to one.

        The last is that of non-finite logits, a class of their own. hardmax: ties go to the lowest index.
        """
        finite = np.isfinite(logits).all(axis=1)
        z = np.where(finite[:, None], logits, 0.0).astype(np.float64)
        scores = np.zeros((len(z), z.shape[1] + 1))
        scores[:, :-1] = _MAPS[self.map](z * self.factor) * finite[:, None]
        scores[:, -1] = ~finite
        return scores

    def lipschitz(self, network: float) -> float | None:
        """An upper bound of every score's l2 constant, from one of the logits' as a vector; None: hardmax jumps.

        softmax: its gradient's norm is ``s sqrt((1-s)^2 + sum of the other squares) <= sqrt(2) s (1-s) <= sqrt(2)/4``.
        sparsemax: a projection onto a convex set.
        """
        if self.map == "hardmax":
            return None
        steep = sqrt(2) / 4 if self.map == "softmax" else 1.0
        return self.factor * steep * network * (1 + 1e-15)


def _hardmax(z: Floats) -> Floats:
    return np.asarray(np.eye(z.shape[1])[z.argmax(axis=1)])


def _softmax(z: Floats) -> Floats:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sparsemax(z: Floats) -> Floats:
    """The nearest point of the simplex (Martins & Astudillo, ICML 2016)."""
    z = z - z.max(axis=1, keepdims=True)
    falling = -np.sort(-z, axis=1)
    over = np.cumsum(falling, axis=1) - 1
    ranks = np.arange(1, z.shape[1] + 1)
    support = (ranks * falling > over).sum(axis=1)
    threshold = over[np.arange(len(z)), support - 1] / support
    return np.asarray(np.clip(z - threshold[:, None], 0.0, 1.0))


_MAPS = {"hardmax": _hardmax, "softmax": _softmax, "sparsemax": _sparsemax}

GENTLEST = 2.0**-6
CHOICES = (
    Scoring("hardmax"),
    *(Scoring(name, GENTLEST * 2.0**doublings) for name in ("softmax", "sparsemax") for doublings in range(13)),
)
"""The scorings from which the pilot chooses. Fixed, like the format of the noise key."""
