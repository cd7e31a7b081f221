"""Forms on a hinge, taken back with any free slope, are below it in exact arithmetic."""

from fractions import Fraction

import numpy as np
import torch

from radii.local.lines import hinge
from radii.local.relaxation import Entrywise, Interval


def test_every_free_slope_is_sound() -> None:
    """Intervals that barely hold 0 have chords near a side's slope, beside which that of a free line is large."""
    draw, count = np.random.default_rng(0), 4000
    sides = draw.choice([0.0, 1.0, -1.0, 0.1, 3.7, -1e6], (2, count))
    lo, hi = -(10.0 ** draw.uniform(-12, 3, count)), 10.0 ** draw.uniform(-12, 3, count)
    alphas, forms = draw.choice([0.0, 1.0, *draw.random(6)], count), draw.standard_normal(count)
    left, right, lows, highs = (torch.from_numpy(part)[:, None] for part in (*sides, lo, hi))
    made = Entrywise(hinge(lows, highs, left, right), Interval(lows, highs))
    [back], constant = made.back(torch.from_numpy(forms)[:, None, None], torch.from_numpy(alphas)[:, None, None])
    assert back is not None
    moved = 0
    for i in range(count):
        form, slope, offset = (Fraction(float(value)) for value in (forms[i], back[i, 0, 0], constant[i, 0]))
        for u, side in ((lo[i], sides[0, i]), (0.0, 0.0), (hi[i], sides[1, i])):
            assert form * Fraction(side) * Fraction(u) >= slope * Fraction(u) + offset
        moved += alphas[i] != float(hi[i] > -lo[i])
    assert moved > count / 2
