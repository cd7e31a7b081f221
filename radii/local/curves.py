"""Lines below and above any function that states itself on cells: sampled values propose, an interval search proves.

Formulas: docs/numerics.md 11.4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from radii.graph.cone.interval import Floats
from radii.graph.cone.jet import Jet, variable
from radii.local.lines import Lines

CELLS = 16  # of one interval; the lines lose the square of a cell's length
WIDEST = 2.0**300
SLACK = 2.0**-48  # of what is added up: a few roundings

Function = Callable[[Jet], Jet]


def curve(function: Function, lo: Tensor, hi: Tensor) -> Lines:
    """The lines of a function on intervals (N, *shape); infinite where an interval is, or where it may jump."""
    a, b = (end.detach().cpu().numpy().reshape(-1) for end in (lo, hi))
    with np.errstate(all="ignore"):
        sane = np.isfinite(a) & np.isfinite(b) & (np.abs(a) < WIDEST) & (np.abs(b) < WIDEST) & (a <= b)
        made = _lines(function, np.where(sane, a, 0.0), np.where(sane, b, 0.0))
    infinite = (0.0, -np.inf, 0.0, np.inf, -np.inf, np.inf)
    parts = [
        np.where(sane & np.isfinite(made[1]) & np.isfinite(made[3]), p, q) for p, q in zip(made, infinite, strict=True)
    ]
    ends = [torch.from_numpy(part.reshape(tuple(lo.shape))).to(lo.device) for part in parts]
    return Lines(ends[0], ends[1], ends[2], ends[3], ends[4], ends[5])


def _lines(function: Function, lo: Floats, hi: Floats) -> tuple[Floats, ...]:
    """Slope and intercept below, slope and intercept above, least and largest value."""
    shares = np.arange(1, CELLS) / CELLS
    inner = np.clip(lo[:, None] + (hi - lo)[:, None] * shares, lo[:, None], hi[:, None])
    edges = np.concatenate([lo[:, None], inner, hi[:, None]], axis=1)
    left, right = edges[:, :-1], edges[:, 1:]  # cells that cover the interval, whatever rounding made of the edges
    at_edges = function(variable(edges.ravel(), edges.ravel()))
    cells = function(variable(left.ravel(), right.ravel()))
    wide = (len(lo), CELLS)
    jumps = ~(cells.jump.reshape(wide) == 0)
    low, high = cells.value.lo.reshape(wide), cells.value.hi.reshape(wide)
    slopes = cells.slope.lo.reshape(wide), cells.slope.hi.reshape(wide)
    e_lo, e_hi = at_edges.value.lo.reshape(edges.shape), at_edges.value.hi.reshape(edges.shape)
    low = np.where(jumps, -np.inf, low)
    high = np.where(jumps, np.inf, high)
    middle = np.where(np.isfinite(e_lo + e_hi), e_lo / 2 + e_hi / 2, 0.0)
    above = _above(edges, e_hi, high, slopes, _proposed(edges, middle))
    below = _above(edges, -e_lo, -low, (-slopes[1], -slopes[0]), _proposed(edges, -middle))
    return -below[0], -below[1], *above, low.min(1), high.max(1)


def _proposed(edges: Floats, values: Floats) -> list[Floats]:
    """Slopes for a line above: of the chord, of tangents from both ends, in the middle, and of no slope."""

    def ratio(rise: Floats, run: Floats) -> Floats:
        return np.nan_to_num(rise / np.where(run == 0, 1.0, run), nan=0.0, posinf=0.0, neginf=0.0)

    first, last = values[:, :1], values[:, -1:]
    from_left = ratio(values[:, 1:] - first, edges[:, 1:] - edges[:, :1])
    from_right = ratio(last - values[:, :-1], edges[:, -1:] - edges[:, :-1])
    half = CELLS // 2
    steps = ratio(values[:, half + 1] - values[:, half - 1], edges[:, half + 1] - edges[:, half - 1])
    return [from_left[:, -1], from_left.max(1), from_right.min(1), steps, np.zeros(len(edges))]


def _above(
    edges: Floats, ends: Floats, values: Floats, slopes: tuple[Floats, Floats], proposed: list[Floats]
) -> tuple[Floats, Floats]:
    """Of the proposed slopes the one whose proved line is lowest in the middle, and that line's intercept.

    On a cell, ``f(x) - s x`` is at most its larger end where it is monotone; elsewhere at most the mean of what may be
    reached from both ends; and at most the cell's largest value less the least of ``s x``.
    """
    left, right = edges[:, :-1], edges[:, 1:]
    best_slope, best, least = np.zeros(len(edges)), np.full(len(edges), np.inf), np.full(len(edges), np.inf)
    centre = edges[:, 0] / 2 + edges[:, -1] / 2
    for slope in proposed:
        s = slope[:, None]
        at = ends - s * edges
        at = at + SLACK * (np.abs(ends) + np.abs(s * edges)) + 1e-290
        width = (right - left) * (1 + SLACK)
        rising, falling = slopes[0] - s, slopes[1] - s
        rising, falling = rising - SLACK * np.abs(rising), falling + SLACK * np.abs(falling)
        # from the left end it rises by at most falling * t, from the right end back by at most -rising * (width - t)
        up, down = np.maximum(falling, 0.0), np.maximum(-rising, 0.0)
        steep = np.minimum(up, down) * width
        total = np.where(up + down > 0, up + down, 1.0)  # by which first, as products of small slopes underflow
        crossing = np.where(
            (up > 0) & (down > 0),
            at[:, :-1] * (down / total) + at[:, 1:] * (up / total) + steep * (np.maximum(up, down) / total),
            np.maximum(at[:, :-1], at[:, 1:]),
        )
        crossing = np.where(np.isinf(total), np.inf, crossing)
        size = np.abs(at[:, :-1]) + np.abs(at[:, 1:]) + steep
        crossing = np.maximum(crossing, np.maximum(at[:, :-1], at[:, 1:])) + 4 * SLACK * size
        crossing = np.where(np.isnan(crossing), np.inf, crossing)
        sizes = np.abs(values) + np.maximum(np.abs(s * left), np.abs(s * right))
        plain = values - np.minimum(s * left, s * right) + SLACK * sizes + 1e-290
        intercept = np.minimum(crossing, np.where(np.isnan(plain), np.inf, plain))
        intercept = np.where(np.isinf(values) & (values > 0), np.inf, intercept).max(1)
        height = intercept + slope * centre
        better = height < least
        best_slope, best = np.where(better, slope, best_slope), np.where(better, intercept, best)
        least = np.where(better, height, least)
    return best_slope, best
