"""The certified-accuracy curve and the summary of a certification, from its results. Pure functions."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

BAND_LEVEL = 0.95
POINTS = 1000
DECISIONS = ("certified", "not certified", "undecided")


class Outcome(NamedTuple):
    """What the curve needs of a result."""

    label: int | None
    prediction: int | None
    radius: float | None
    decision: str | None = None  # where one radius was to be decided

    @property
    def certified_radius(self) -> float | None:
        """The radius, if it certifies the right answer (any answer, where there are no labels)."""
        right = self.label is None or self.label == self.prediction
        return self.radius if right else None


def curve(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Certified accuracy at r: the share of inputs whose prediction is right and whose radius is at least r.

    Without labels it is the share certified at all. ``points`` are the corners of the falling step function, at most
    ``POINTS`` of them (thinned to corners, so every point stays exact). ``band`` is the Dvoretzky-Kiefer-Wolfowitz
    half width (Massart 1990): with probability 0.95 over test inputs drawn at random, the curve of the whole
    population lies within it for all r at once.
    """
    count = len(outcomes)
    radii = sorted(r for outcome in outcomes if (r := outcome.certified_radius) is not None)
    corners = [(0.0, len(radii))] if count else []
    corners += [(r, len(radii) - i) for i, r in enumerate(radii) if r > 0 and (i == 0 or radii[i - 1] != r)]
    keep = max(1, math.ceil(len(corners) / POINTS))
    kept = corners[::keep] + (corners[-1:] if (len(corners) - 1) % keep else [])
    return {
        "inputs": count,
        "labelled": any(outcome.label is not None for outcome in outcomes),
        "points": [{"radius": r, "certified_accuracy": n / count} for r, n in kept],
        "band": {
            "level": BAND_LEVEL,
            "half_width": math.sqrt(math.log(2 / (1 - BAND_LEVEL)) / (2 * count)) if count else None,
        },
    }


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A few figures of a certification: counts, accuracy, median radius over all inputs (abstaining counts as 0).

    Where one radius was to be decided, its three answers are counted, and the median, which would be that radius or 0,
    is None.
    """
    decisions = Counter(outcome.decision for outcome in outcomes if outcome.decision is not None)
    count = len(outcomes)
    labelled = [outcome for outcome in outcomes if outcome.label is not None]
    certified = [outcome for outcome in outcomes if outcome.radius is not None]
    figures = {
        "inputs": count,
        "abstained": count - len(certified),
        "accuracy": sum(o.label == o.prediction for o in labelled) / len(labelled) if labelled else None,
        "certified_accuracy": sum(o.certified_radius is not None for o in outcomes) / count if count else None,
        "median_radius": median(o.radius or 0.0 for o in outcomes) if count and not decisions else None,
    }
    return figures | {"decisions": {answer: decisions[answer] for answer in DECISIONS}} if decisions else figures


def bounded(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As :func:`summary`, of a certification that bounds medians: there is no right answer, and one radius."""
    return summary(outcomes) | {"accuracy": None, "certified_accuracy": None, "median_radius": None}


def answers(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As :func:`summary`, of a certification that predicts and certifies no radius: abstaining is no right answer."""
    figures = summary([outcome._replace(radius=None) for outcome in outcomes])
    abstained = sum(outcome.prediction is None for outcome in outcomes)
    return figures | {"abstained": abstained, "certified_accuracy": None, "median_radius": None}
