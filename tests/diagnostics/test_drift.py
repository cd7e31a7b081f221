"""A series of checkpoints: bounds on every norm, and what they add up to."""

import json
import math

import numpy as np
import pytest
import torch

from radii.diagnostics import drift
from radii.diagnostics.drift import Sgd
from radii.diagnostics.errors import ConstantNetwork, DifferentArchitectures, NoLabels, NoWeights
from radii.graph import Graph
from radii.graph.ops.activation import Relu
from radii.graph.ops.linear import Linear
from radii.lipschitz import NonFiniteWeights, network_bound
from tests.diagnostics.test_curvature import data
from tests.local.networks import chain, graph_of, image


def run(count: int = 4) -> list[tuple[str, Graph]]:
    """Checkpoints of one architecture."""
    return [(f"step {i}", chain(np.random.default_rng(i), (6, 9, 4))) for i in range(count)]


def matrices(graph: Graph) -> list[np.ndarray]:
    return [node.operator.weight.astype(float) for node in graph.nodes if isinstance(node.operator, Linear)]


def test_bounds_hold_the_logarithms() -> None:
    series = drift(run())
    for (label, graph), found in zip(run(), series.checkpoints, strict=True):
        logs = [math.log(np.linalg.svd(matrix, compute_uv=False)[0]) for matrix in matrices(graph)]
        assert found.label == label and len(found.layers) == 2
        for layer, log in zip(found.layers, logs, strict=True):
            assert layer.lower - 1e-14 <= log <= layer.upper + 1e-14 and layer.upper - layer.lower < 1e-11
        assert found.lower - 1e-13 <= sum(logs) <= found.upper + 1e-13
        assert found.lipschitz == network_bound(graph).upper <= math.exp(found.upper)


def test_increments_and_shares_add_up() -> None:
    series = drift(run())
    assert [increment.label for increment in series.increments] == ["step 1", "step 2", "step 3"]
    for before, after, found in zip(series.checkpoints, series.checkpoints[1:], series.increments, strict=False):
        assert found.change == pytest.approx(after.upper - before.upper, abs=1e-15)
        assert math.fsum(found.layers) == pytest.approx(found.change, abs=1e-14)
        assert found.shares is not None and math.fsum(found.shares) == pytest.approx(1, abs=1e-11)


def test_a_step_that_changes_nothing_has_no_shares() -> None:
    [increment] = drift([run(1)[0], ("again", run(1)[0][1])]).increments
    assert increment.change == 0 and increment.shares is None


def test_accuracy_and_a_step_with_data() -> None:
    x, y = data((6,), 4, count=20)
    series = drift(run(2), x, y, radii=(0.0, 0.05), sgd=Sgd(1e-3, 4), batches=8)
    for (_, graph), found in zip(run(2), series.checkpoints, strict=True):
        answers = network_bound(graph).logits(x).argmax(1)
        assert found.accuracy == float((answers == y).double().mean())
        assert found.certified_accuracy is not None and found.step is not None
        assert 0 <= found.certified_accuracy[0.05] <= found.certified_accuracy[0.0] <= found.accuracy
        assert found.step.mean is not None and found.step.layers[0].name == "0 Linear weight"
    assert json.loads(json.dumps(series.to_json()))["checkpoints"][1]["certified_accuracy"][0]["radius"] == 0.0


def test_convolutions_have_norms_too() -> None:
    graph = image(np.random.default_rng(0))
    [found] = drift([("only", graph)]).checkpoints
    assert [layer.name for layer in found.layers] == ["0 Conv", "2 Conv", "9 Linear"]
    assert all(layer.lower <= layer.upper < math.inf for layer in found.layers)


def test_bad_input_is_named() -> None:
    first, *_ = run(1)
    other = chain(np.random.default_rng(0), (6, 8, 4))
    with pytest.raises(DifferentArchitectures, match="checkpoint b differs from step 0 at node 0"):
        drift([first, ("b", other)])
    longer = chain(np.random.default_rng(0), (6, 9, 4, 4))
    with pytest.raises(DifferentArchitectures):
        drift([("a", longer), first])
    with pytest.raises(ConstantNetwork, match="zero"):
        drift([("a", graph_of((3,), [(Linear(np.zeros((2, 3), np.float32)), ("x",), "y")]))])
    with pytest.raises(NoWeights):
        drift([("a", graph_of((3,), [(Relu(), ("x",), "y")]))])
    weight = np.full((2, 3), np.nan, np.float32)
    with pytest.raises(NonFiniteWeights):
        drift([("a", graph_of((3,), [(Linear(weight), ("x",), "y")]))])
    x, _ = data((6,), 4)
    with pytest.raises(NoLabels):
        drift([first], x)
    with pytest.raises(ValueError, match="give x and y"):
        drift([first], sgd=Sgd(0.1, 4))
    with pytest.raises(ValueError, match="no checkpoints"):
        drift([])
    assert torch.equal(x, data((6,), 4)[0])
