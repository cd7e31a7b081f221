"""Lines below and above a function of every entry on an interval. Formulas: docs/numerics.md 11.4."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from radii.local.slack import lowered, raised


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """``below_slope x + below <= f(x) <= above_slope x + above`` on an interval, in real arithmetic; (N, *shape) each.

    ``lo``, ``hi``: what f(x) lies between there. ``free``: None, or where one of the lines may be any through 0 whose
    slope lies between two, as a hinge's lower line (upper, where it is concave).
    """

    below_slope: Tensor
    below: Tensor
    above_slope: Tensor
    above: Tensor
    lo: Tensor
    hi: Tensor
    free: Free | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Free:
    """(N, *shape) each.

    ``range_``: how much the slope rises from ``alpha = 0`` to 1; 0 where it is not free. ``below``: whether it is that
    of the lower line. ``alpha``: what the lines are made with, the choice of the smaller area.
    """

    range_: Tensor
    below: Tensor
    alpha: Tensor


def hinge(lo: Tensor, hi: Tensor, left: Tensor, right: Tensor) -> Lines:
    """Of a function that is ``left x`` below 0 and ``right x`` above.

    Args:
        lo, hi: (N, *shape), the interval.
        left, right: slopes, broadcast with them.
    """
    left, right = left.expand_as(lo), right.expand_as(lo)
    least, most = torch.minimum(left, right), torch.maximum(left, right)
    open_ = (lo < 0) & (hi > 0)
    only = torch.where(hi <= 0, left, right)
    width = torch.where(open_, hi - lo, 1.0)
    chord = torch.minimum(torch.maximum((right * hi - left * lo) / width, least), most)
    ends = (left - chord) * lo, (right - chord) * hi
    alpha = (hi > -lo).to(lo.dtype)
    free = torch.where(hi > -lo, right, left)
    convex, zero = right >= left, lo.new_zeros(())
    over, under = raised(torch.maximum(*ends)), lowered(torch.minimum(*ends))
    at_lo, at_hi = torch.where(lo < 0, left, right) * lo, torch.where(hi < 0, left, right) * hi
    bend = torch.where(open_, zero, at_lo)
    return Lines(
        below_slope=torch.where(open_, torch.where(convex, free, chord), only),
        below=torch.where(open_ & ~convex, under, zero),
        above_slope=torch.where(open_, torch.where(convex, chord, free), only),
        above=torch.where(open_ & convex, over, zero),
        lo=lowered(torch.minimum(torch.minimum(at_lo, at_hi), bend)),
        hi=raised(torch.maximum(torch.maximum(at_lo, at_hi), bend)),
        free=Free(torch.where(open_, right - left, zero), convex, alpha),
    )
