"""Lines of functions of any size lie on their side of the function."""

import mpmath
import numpy as np
import pytest
import torch

from radii.graph.cone.jet import Jet
from radii.graph.ops.activation import Tanh
from radii.local.curves import curve


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-250, 1e200])
def test_lines_of_a_scaled_function(scale: float) -> None:
    """Of slopes near 1e-200 products would be 0."""

    def function(x: Jet) -> Jet:
        return Tanh().on_cells(x) * x.constant(scale)

    with mpmath.workprec(200):
        for lo, hi in ((0.2, 1.5), (-2.0, 0.5), (-1e-3, 1e-3)):
            made = curve(function, torch.tensor([[lo]], dtype=torch.float64), torch.tensor([[hi]], dtype=torch.float64))
            below, above = ((made.below_slope, made.below), (made.above_slope, made.above))
            for x in map(mpmath.mpf, np.linspace(lo, hi, 301)):
                value = mpmath.tanh(x) * mpmath.mpf(scale)
                low, high = (mpmath.mpf(float(slope)) * x + mpmath.mpf(float(at)) for slope, at in (below, above))
                assert low <= value <= high
            assert float(made.hi - made.lo) <= 1.1 * scale * (np.tanh(hi) - np.tanh(lo)) + 1e-280
