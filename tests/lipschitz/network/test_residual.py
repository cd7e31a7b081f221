"""Residual blocks whose second weight has the factors of the layer in it, rounded: against all explicit slopes."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, Node, read_onnx
from radii.layers import SLL, Convolution, row_bound
from radii.lipschitz import NetworkBound, network_bound
from tests.graph.export import export
from tests.lipschitz.network.operators import new_operator

Array = np.ndarray[Any, np.dtype[Any]]


def bound(u: Array, v: Array) -> NetworkBound:
    """That of ``x + U relu(V x)``."""
    nodes = [
        Node(new_operator("Gemm", v, None), ("x",), "a", 0),
        Node(new_operator("Relu"), ("a",), "b", 1),
        Node(new_operator("Gemm", u, None), ("b",), "c", 2),
        Node(new_operator("Add"), ("x", "c"), "y", 3),
    ]
    return network_bound(Graph.build("x", (v.shape[1],), "y", nodes))


def steepest(u: Array, v: Array) -> float:
    """The largest norm of the Jacobian, which is convex in the slopes: over all that are 0 or 1."""
    unit = np.eye(v.shape[1])
    slopes = itertools.product([0.0, 1.0], repeat=len(v))
    return max(float(np.linalg.norm(unit + u @ (np.array(s)[:, None] * v), 2)) for s in slopes)


@pytest.mark.parametrize("room", [0.5, 0.05, 1e-3, 0.0])
@pytest.mark.parametrize("off", [0.3, 1e-2, 1e-5])
def test_no_slopes_exceed_it(room: float, off: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        v = rng.standard_normal((6, 4))
        gram = np.abs(v @ v.T).sum(1)
        tau = (1 - room) / gram / np.linalg.norm(v / np.sqrt(gram)[:, None], 2) ** 2
        u = -2 * v.T * tau + off * rng.standard_normal((4, 6)) * np.sqrt(tau)
        assert steepest(u, v) <= bound(u, v).upper


def test_rounded_factors_cost_next_to_nothing() -> None:
    """In float32, with the slack of 1e-6 of our layers, and with a unit that reads nothing: next to 1, not 1 + 1e-6."""
    rng = np.random.default_rng(1)
    v = rng.standard_normal((8, 5)).astype(np.float32)
    v[3] = 0
    exact = v.astype(np.float64)
    sums = np.abs(exact @ exact.T).sum(1)
    tau = np.divide(1 / (1 + 1e-6), sums, out=np.zeros(8), where=sums > 0)
    u = (-2 * exact.T * tau).astype(np.float32)
    assert np.abs(u + 2 * exact.T * tau).max() > 1e-9  # rounding did something
    found = bound(u, v)
    assert "1-Lipschitz residual" in {layer.rule for layer in found.layers}
    assert steepest(u.astype(np.float64), exact) <= found.upper <= 1 + 2e-8


class Folded(nn.Module):
    """An SLL convolution as others export it."""

    def __init__(self, layer: SLL) -> None:
        super().__init__()
        factor = 2 / row_bound(layer.weight.double(), Convolution(3)) / (1 + 1e-6)
        self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 3, padding=1, bias=False)
        self.inner.weight.data = layer.weight.detach()
        self.outer.weight.data = (layer.weight.double() * factor[:, None, None, None]).float().detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.outer(torch.relu(self.inner(x)))).flatten(1)


def test_convolutions_by_their_blocks() -> None:
    torch.manual_seed(0)
    layer = SLL(3, 4, kernel_size=3)
    file = export(Folded(layer).eval(), (3, 16, 16), dynamo=True, opset=20, dynamic=True)  # too large for a matrix
    found = network_bound(read_onnx(file))
    assert "1-Lipschitz residual" in {one.rule for one in found.layers}
    assert found.upper <= 1 + 1e-7
