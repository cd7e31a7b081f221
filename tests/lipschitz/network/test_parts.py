"""Rules for a part of a network: residual blocks, what is folded into the layer behind it, padding before it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, Node, normalized, to_module
from radii.lipschitz import network_bound
from tests.lipschitz.network.operators import new_operator
from tests.lipschitz.network.sharp import ConvSll, Cpl, Sll, same, steepest_jacobians
from tests.lipschitz.network.test_bound import Residual, graph_of


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: [Cpl(12, 20, nn.ReLU()), Cpl(12, 7, nn.Tanh()), Cpl(12, 12, nn.ReLU())], (12,)),
        (lambda: [Sll(12, 20), Sll(12, 7), Sll(12, 12)], (12,)),
        (lambda: [ConvSll(3, 6, 3), ConvSll(3, 2, 5), ConvSll(3, 4, 3), nn.Flatten()], (3, 8, 8)),
        (lambda: [ConvSll(8, 9, 3), ConvSll(8, 12, 3), nn.Flatten()], (8, 12, 12)),
    ],
    ids=["cpl", "sll", "convolutions, explicit", "convolutions, torus"],
)
def test_blocks_built_to_be_1_lipschitz_are(make: Callable[[], list[nn.Module]], shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    bound = network_bound(graph_of(nn.Sequential(*make()), shape), bound="product")
    assert 1 <= bound.upper <= 1.000001
    assert "1-Lipschitz residual" in {layer.rule for layer in bound.layers}


def test_a_block_that_only_looks_1_lipschitz_is_not() -> None:
    torch.manual_seed(6)
    for block, shape in ((ConvSll(2, 4, 3, lie=8.0), (2, 5, 5)), (Cpl(6, 6, nn.ReLU()), (6,))):
        if isinstance(block, Cpl):
            block.factor.data *= 3
        graph = graph_of(nn.Sequential(block, nn.Flatten()), shape)
        jacobians = steepest_jacobians(to_module(graph, dtype=torch.float64), shape)
        steepest = max(float(torch.linalg.matrix_norm(jacobian, 2)) for jacobian in jacobians)
        assert 1.5 < steepest <= network_bound(graph).upper


def test_residual_average_by_hand() -> None:
    torch.manual_seed(7)
    first, second = nn.Linear(6, 9), nn.Linear(9, 6)
    bound = network_bound(graph_of(nn.Sequential(Residual(first, nn.ReLU(), second)), (6,)), bound="product")
    v, u = (layer.weight.detach().double().numpy() for layer in (first, second))
    plain = np.linalg.norm(np.eye(6) + u @ v / 2, 2) + np.linalg.norm(u, 2) * np.linalg.norm(v, 2) / 2
    assert bound.upper <= plain * (1 + 1e-6)
    truth = max(np.linalg.norm(np.eye(6) + u @ np.diag([i >> j & 1 for j in range(9)]) @ v, 2) for i in range(512))
    assert truth <= bound.upper


@pytest.mark.parametrize("std", [[0.5, 1.0, 2.0], 0.25])
def test_normalisation_is_folded_into_the_layer_behind_it(std: float | list[float]) -> None:
    torch.manual_seed(8)
    dense, convolution = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), nn.Sequential(same(3, 5), nn.Flatten())
    for network, shape in ((dense, (3, 4, 4)), (convolution, (3, 6, 6))):
        graph = normalized(graph_of(network, shape), 0.5, std)
        truth = np.linalg.norm(jacobian_at_zero(graph), 2)
        assert truth * (1 - 1e-13) <= network_bound(graph).upper <= truth * (1 + 1e-6)


def jacobian_at_zero(graph: Graph) -> np.ndarray:
    module, zero = to_module(graph, dtype=torch.float64), torch.zeros(graph.input_shape, dtype=torch.float64)
    return torch.func.jacrev(lambda v: module(v[None])[0])(zero).flatten(1).detach().numpy()


@pytest.mark.parametrize(("mode", "name"), [("wrap", "circular"), ("reflect", "reflect"), ("edge", "replicate")])
def test_padding_before_a_convolution_is_its_padding_mode(mode: str, name: str) -> None:
    rng = np.random.default_rng(9)
    weight = rng.standard_normal((4, 3, 3, 3))
    pads = ((0, 0), (1, 1), (1, 1))
    conv: Any = graph_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), (3, 10, 10)).nodes[0].operator
    nodes = [
        Node(new_operator("Pad", mode, pads, 0.0), ("x",), "p", 0),
        Node(type(conv)(weight, None, conv.windows, 1), ("p",), "c", 1),
        Node(new_operator("Flatten", (4 * 64,)), ("c",), "y", 2),
    ]
    graph = Graph.build("x", (3, 8, 8), "y", nodes)
    truth = np.linalg.norm(jacobian_at_zero(graph), 2)
    bound = network_bound(graph)
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-5), name
    assert bound.layers[1].rule == "linear"
