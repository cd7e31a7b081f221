"""Norms from slices of a matrix."""

from itertools import pairwise

import numpy as np
import pytest

from radii.lipschitz.dense.slices import sliced_norm


@pytest.mark.parametrize("scale", [1e-280, 1.0, 1e290])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (12, 40), (40, 12), (17, 17)])
def test_slices_bound_the_norm_and_more_rows_bound_it_better(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(0)
    steep = rng.standard_normal(shape) * 10.0 ** rng.uniform(-20, 0, shape)
    for matrix in (rng.standard_normal(shape), np.ones(shape), np.eye(*shape), steep, np.zeros(shape)):
        true = float(np.linalg.norm(matrix, 2))
        found = [sliced_norm(matrix * scale, rows) / scale for rows in (1, 2, 4, 64)]
        assert min(found) >= true
        assert found[0] <= np.linalg.norm(matrix) * (1 + 1e-9)
        assert found[-1] <= true * (1 + 1.1e-3)
        assert all(less <= more * (1 + 1.1e-3) for more, less in pairwise(found))
    assert sliced_norm(np.eye(9), 1) <= 1 + 1e-9  # it is 3
