"""Radii in other norms, against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from radii.norms import Norm, converted

RADII = [*np.random.default_rng(0).lognormal(0, 3, 200).tolist(), 1.0, 5e-324, 2.2e-308, 1.7976931348623157e308]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 64, 784, 3 * 224 * 224, 2**24])
def test_an_linf_radius_lies_inside_the_l2_ball_and_nearly_fills_it(dimensions: int) -> None:
    for radius in RADII:
        found = converted(radius, "linf", dimensions)
        assert Fraction(found) ** 2 * dimensions <= Fraction(radius) ** 2  # the cube's corner, exactly
        nearly = found * (1 + 1e-15) + 1e-323
        assert math.isinf(nearly) or Fraction(nearly) ** 2 * dimensions >= Fraction(radius) ** 2


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_l1_ball_lies_inside_the_l2_ball_of_the_same_radius(norm: Norm) -> None:
    assert [converted(radius, norm, 784) for radius in RADII] == RADII
