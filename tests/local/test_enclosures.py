"""No activation leaves its interval, no form falls below its bound: over the whole space of operators."""

import numpy as np
import pytest
import torch

from radii.graph import read_onnx
from radii.local import Network, NotRelaxable
from radii.local.bounds import Bounds
from radii.local.region import Region
from radii.local.slack import certified
from radii.norms import Norm
from tests.graph.space import corpus
from tests.local.points import activations, points_within

BALLS: list[tuple[Norm, float]] = [("l2", 0.3), ("linf", 0.5), ("l1", 1.0)]
FLOAT64 = 1e-9  # what evaluating a single operator may lose, of its value and of 1
REFUSED = {
    *("And", "Or", "Xor", "Not", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "IsNaN", "IsInf"),
    *("Ceil", "Floor", "Round", "TopK", "Sin", "Cos", "Tan", "Asin", "Acos", "Acosh", "Atanh", "Cosh"),
    *("LRN", "Einsum", "Col2Im", "Attention"),
}
OPERATORS = sorted({case.operator for case in corpus(1)})


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(operator: str) -> None:
    case = next(case for case in corpus(1) if case.operator == operator)
    graph = read_onnx(case.data())
    try:
        network = Network.of(graph)
    except NotRelaxable as problem:
        assert operator in REFUSED, problem
        return
    assert operator not in REFUSED
    rng = np.random.default_rng(7)
    x = rng.standard_normal((2, *graph.input_shape))
    for norm, eps in BALLS:
        check_bounds(network, x, np.array([eps, eps / 8]), norm, rng)


def check_bounds(
    network: Network, x: np.ndarray, eps: np.ndarray, norm: Norm, rng: np.random.Generator, points: int = 200
) -> None:
    """Intervals of all activations, and random forms on the output, hold at points of balls."""
    with certified(network.device), torch.no_grad():
        bounds = Bounds(network, Region.ball(torch.from_numpy(x), torch.from_numpy(eps), norm)).forward()
        forms = torch.from_numpy(rng.standard_normal((len(x), 3, *network.relaxed.shapes[network.relaxed.output])))
        least = bounds.least(network.relaxed.output, forms)
    for i, centre in enumerate(x):
        values = activations(network, points_within(centre, eps[i], norm, points, rng))
        for name, value in values.items():
            room = FLOAT64 * (1 + value.abs())
            assert bool((value >= bounds.intervals[name].lo[i] - room).all()), name
            assert bool((value <= bounds.intervals[name].hi[i] + room).all()), name
        terms = values[network.relaxed.output][:, None] * forms[i][None]
        made, room = terms.flatten(2).sum(2), FLOAT64 * (1 + terms.abs().flatten(2).sum(2))
        assert bool((made >= least[i] - room).all())
