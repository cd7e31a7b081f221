"""Constants of differences of two logits."""

import itertools
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import to_module
from radii.lipschitz import network_bound
from radii.lipschitz.network.pairs import distances
from tests.lipschitz.network.test_bound import graph_of


@pytest.mark.parametrize("factor", [1e-310, 1e-300, 1.0, 1e200])
def test_a_small_constant_of_the_features_loses_no_distance(factor: float) -> None:
    """Two rows far closer to each other than to a third, behind features that hardly move."""
    weight = np.array([[3.0], [1.0], [1e60]])
    found = distances(weight, factor)
    for (y, j), apart in {(0, 1): 2.0, (0, 2): 1e60, (1, 2): 1e60}.items():
        assert apart * factor <= found[y, j] == found[j, y] <= apart * factor * (1 + 1e-12)


def test_near_rows_are_told_apart() -> None:
    """Their squares differ by less than the product of all rows may lose."""
    with mpmath.workdps(60):
        for near in (1e-3, 1e-8, 1e-12, 0.0):
            weight = np.random.default_rng(0).standard_normal((4, 50))
            weight[1] = weight[0] + near * weight[2]
            found = distances(weight, 1.0)
            for y, j in itertools.combinations(range(4), 2):
                apart = mpmath.norm(mpmath.matrix(weight[y].tolist()) - mpmath.matrix(weight[j].tolist()))
                assert apart <= found[y, j] == found[j, y] <= apart * (1 + 1e-9)


FIRST = partial(nn.Conv2d, 3, 8, 3, padding=1)
LINEAR: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "two dense layers": ([partial(nn.Linear, 10, 20), partial(nn.Linear, 20, 5)], (10,)),
    "convolutions": ([FIRST, partial(nn.AvgPool2d, 2), partial(nn.Conv2d, 8, 5, 4), nn.Flatten], (3, 8, 8)),
    "many inputs": ([FIRST, nn.Flatten, partial(nn.Linear, 8192, 5)], (3, 32, 32)),
    "many inputs, pooled": (
        [FIRST, partial(nn.ZeroPad2d, (2, 0, 1, 0)), partial(nn.AvgPool2d, 33), nn.Flatten, partial(nn.Linear, 8, 5)],
        (3, 32, 32),
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_network_has_the_pairs_of_its_matrix(name: str) -> None:
    torch.manual_seed(0)
    layers, shape = LINEAR[name]
    graph = graph_of(nn.Sequential(*(layer() for layer in layers)), shape)
    module = to_module(graph, dtype=torch.float64)
    zero = torch.zeros(shape, dtype=torch.float64)
    matrix = torch.func.jacrev(lambda v: module(v[None])[0])(zero).flatten(1).numpy()
    bound, apart = network_bound(graph), np.linalg.norm(matrix[:, None] - matrix, axis=2)
    truth = np.linalg.norm(matrix, 2)
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)
    assert bound.pairwise is not None
    assert (apart * (1 - 1e-12) <= bound.pairwise).all()
    assert (bound.pairwise <= apart * (1 + 1e-6)).all()
