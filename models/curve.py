"""The certified-accuracy curve of a certification, from its results. Pure functions.
Formulas: docs/numerics.md 10.1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from models.base import Json

BAND_LEVEL = 0.95
POINTS = 1000
READING = (
    "At radius r the certified accuracy is that of the first point whose radius is at least r, and 0 beyond the last "
    "point. Where known_up_to is set, nothing is known beyond it; where there is no point, nothing at all."
)


class Outcome(NamedTuple):
    """What curve and summary need of a result."""

    label: int | None
    prediction: int | None
    radius: float | None
    decision: str | None = None  # where one radius was to be decided
    clean_prediction: int | None = None
    failed: bool = False  # nothing was computed: its samples end or hang the process

    @property
    def abstained(self) -> bool:
        """Whether nothing was said: a prediction has no radius, and the bound of a median no prediction."""
        return self.prediction is None and self.radius is None and not self.failed

    @property
    def certified_radius(self) -> float | None:
        """The radius, if it certifies the right answer (any answer, where there are no labels)."""
        right = self.label is None or self.label == self.prediction
        return self.radius if right else None


def certified_accuracy(outcomes: Sequence[Outcome], radius: float, *, target_radius: float | None = None) -> Json:
    """The share of inputs whose prediction is right and whose radius is at least ``radius``, beside that radius.

    Without labels it is the share certified at all. None without inputs, and beyond the ``target_radius`` that was to
    be decided, where nobody asked.
    """
    reached = [(r := outcome.certified_radius) is not None and r >= radius for outcome in outcomes]
    known = target_radius is None or radius <= target_radius
    return {"radius": radius, "certified_accuracy": _share(reached) if known else None}


def curve(outcomes: Sequence[Outcome], *, target_radius: float | None = None) -> Json:
    """:func:`certified_accuracy` at every radius, to be read as ``READING`` says.

    ``points`` are the corners of the falling step function, at most ``POINTS`` of them and the last. They are thinned
    to corners: each is exact, and what is read between two of them is never above the truth. Of decisions about a
    ``target_radius`` they are its two ends. ``band`` is the Dvoretzky-Kiefer-Wolfowitz half width (Massart 1990): with
    probability 0.95 over test inputs drawn at random, the curve of the whole population lies within it for all r at
    once.
    """
    count = len(outcomes)
    radii = sorted(r for outcome in outcomes if (r := outcome.certified_radius) is not None)
    corners = [(0.0, len(radii))]
    corners += [(r, len(radii) - i) for i, r in enumerate(radii) if r > 0 and (i == 0 or radii[i - 1] != r)]
    if target_radius is not None:
        corners = [(0.0, len(radii)), (target_radius, len(radii))]
    keep = math.ceil(len(corners) / POINTS)
    kept = corners[::keep] + (corners[-1:] if (len(corners) - 1) % keep else [])
    return {
        "inputs": count,
        "failed": sum(outcome.failed for outcome in outcomes),
        "labelled": any(outcome.label is not None for outcome in outcomes),
        "reading": READING,
        "known_up_to": target_radius,
        "points": [{"radius": r, "certified_accuracy": n / count} for r, n in kept] if count else [],
        "band": {
            "level": BAND_LEVEL,
            "half_width": math.sqrt(math.log(2 / (1 - BAND_LEVEL)) / (2 * count)) if count else None,
        },
    }


def _share(of: Sequence[bool]) -> float | None:
    return sum(of) / len(of) if of else None
