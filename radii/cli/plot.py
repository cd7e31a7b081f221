"""Certified accuracy against radius, drawn in a terminal."""

import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from rich.text import Text

# A curve's line, corners and drop, each curve in another weight, so that they differ without colour as well.
STROKES = (("─", "╮", "╰", "│"), ("━", "┓", "┗", "┃"), ("═", "╗", "╚", "║"))
COLOURS = ("cyan", "magenta", "yellow")
MARGIN = 7  # columns of the vertical axis

Curve = Mapping[str, Any]  # as the service gives it


def certified_accuracy(curve: Curve, radius: float) -> float | None:
    """The share of inputs certified at ``radius``: the curve falls just after each of its points. None: not known."""
    known = curve.get("known_up_to")
    if not curve["points"] or (known is not None and radius > known):
        return None
    return next((p["certified_accuracy"] for p in curve["points"] if p["radius"] >= radius), 0.0)


def largest_radius(curves: Mapping[str, Curve]) -> float:
    """The largest radius certified; 0 if there is none."""
    return max((p["radius"] for curve in curves.values() for p in curve["points"]), default=0.0)


def ticks(largest: float, count: int) -> list[float]:
    """At most ``count`` + 1 round numbers from 0 to ``largest``."""
    if largest <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(largest / count))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if largest / (power * factor) <= count)
    return [i * step for i in range(int(largest / step) + 1)]


def plot(curves: Mapping[str, Curve], *, width: int = 60, height: int = 13) -> Text:
    """The curves in one frame of ``width`` x ``height`` characters, with axes and a legend."""
    largest = min(largest_radius(curves) * 1.03, sys.float_info.max) or 1.0
    cells = [[(" ", "")] * width for _ in range(height)]
    for (line, top, bottom, drop), colour, curve in zip(STROKES, COLOURS, curves.values(), strict=False):
        shares = (certified_accuracy(curve, largest * (column / (width - 1))) for column in range(width))
        rows = [round((1 - share) * (height - 1)) for share in shares if share is not None]  # the last may be unknown
        for row in rows[:1]:
            cells[row][0] = (line, colour)
        for column, (above, below) in enumerate(pairwise(rows), start=1):
            for row in range(above, below + 1):
                stroke = line if above == below else top if row == above else bottom if row == below else drop
                cells[row][column] = (stroke, colour)
    text = Text("certified accuracy\n", style="dim")
    for number, cells_of_row in enumerate(cells):
        share = 1 - number / (height - 1)
        text.append(f"{share:>{MARGIN - 2}.0%} ┤" if number % 3 == 0 or number == height - 1 else f"{'':{MARGIN - 1}}│")
        for stroke, colour in cells_of_row:
            text.append(stroke, style=colour)
        text.append("\n")
    text.append(_axis(largest, width))
    for name, (line, *_), colour in zip(curves, STROKES, COLOURS, strict=False):
        text.append(f"  {line * 3} ", style=colour).append(name)
    return text


def _axis(largest: float, width: int) -> str:
    line = ["─"] * width
    labels = [" "] * (width + 6)
    for tick in ticks(largest, 6):
        column = round(tick / largest * (width - 1))
        line[column] = "┬"
        for offset, character in enumerate(f"{tick:g}"):
            labels[column + offset] = character
    return f"{'':{MARGIN - 1}}└{''.join(line)}\n{'':{MARGIN}}{''.join(labels).rstrip()}  l2 radius\n"
