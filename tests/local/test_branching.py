"""Cut to the end, a radius is the distance of the nearest change of class."""

import numpy as np
import pytest

from radii.graph.ops.activation import Abs, Relu
from radii.local import certify
from radii.norms import Norm
from tests.local.networks import chain, settled
from tests.local.truths import Chain, nearest_change


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize(("function", "slope", "widths"), [(Relu, 0.0, (3, 4, 4, 3)), (Abs, -1.0, (3, 6, 3))])
def test_the_exact_radius(function: type[Relu], slope: float, widths: tuple[int, ...], norm: Norm) -> None:
    rng = np.random.default_rng(11)
    graph = chain(rng, widths, function)
    layers = [node.operator.arrays() for node in graph.nodes if node.operator.arrays()]
    truth = Chain(tuple((a["weight"].astype(float), a["bias"].astype(float)) for a in layers), slope)
    x, labels = settled(graph, rng, 1)
    quick, high = (certify(graph, x, labels, norm=norm, effort=effort) for effort in ("quick", "high"))
    for i, point in enumerate(x):
        nearest, _ = nearest_change(truth, point, norm)
        assert quick[i].radius <= high[i].radius <= nearest * (1 + 1e-12)
        if np.isfinite(nearest):
            assert high[i].radius >= nearest * (1 - 1e-9)
