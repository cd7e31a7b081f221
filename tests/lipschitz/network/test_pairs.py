"""Constants of differences of two logits."""

import numpy as np
import pytest

from radii.lipschitz.network.pairs import distances


@pytest.mark.parametrize("factor", [1e-310, 1e-300, 1.0, 1e200])
def test_a_small_constant_of_the_features_loses_no_distance(factor: float) -> None:
    """Two rows far closer to each other than to a third, behind features that hardly move."""
    weight = np.array([[3.0], [1.0], [1e60]])
    found = distances(weight, factor)
    for (y, j), apart in {(0, 1): 2.0, (0, 2): 1e60, (1, 2): 1e60}.items():
        assert apart * factor <= found[y, j] == found[j, y] <= apart * factor * (1 + 1e-12)
