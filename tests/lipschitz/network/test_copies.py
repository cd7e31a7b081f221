"""What only copies entries: its norm by SVD, the same function as before, and folded into the convolution behind it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, Node, to_module
from radii.graph.operator import Operator
from radii.lipschitz import network_bound
from radii.lipschitz.network.copies import with_gathers
from tests.lipschitz.network.operators import new_operator
from tests.lipschitz.network.test_bound import graph_of


def matrix_of(graph: Graph) -> np.ndarray:
    """The matrix of a linear graph, column by column."""
    module, inputs = to_module(graph, dtype=torch.float64), int(np.prod(graph.input_shape))
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *graph.input_shape)
    return (module(basis) - module(torch.zeros_like(basis[:1]))).flatten(1).T.numpy()


def assert_tight(graph: Graph, rtol: float = 1e-6) -> None:
    truth, upper = np.linalg.norm(matrix_of(graph), 2), network_bound(graph).upper
    assert truth * (1 - 1e-13) <= upper <= truth * (1 + rtol)


LAYERS: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
    "1-d": (nn.Conv1d, (2, 9), {"kernel_size": 4, "padding": 3}),
    "2-d": (nn.Conv2d, (2, 6, 7), {"kernel_size": (3, 5), "padding": (1, 2)}),
    "one axis": (nn.Conv2d, (2, 6, 7), {"kernel_size": (1, 3), "padding": (0, 1)}),
    "stride": (nn.Conv2d, (2, 8, 6), {"kernel_size": 3, "padding": 1, "stride": 2}),
    "dilation, groups": (nn.Conv2d, (2, 7, 7), {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2}),
    "3-d": (nn.Conv3d, (2, 3, 4, 4), {"kernel_size": 3, "padding": 1}),
}


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("layer", LAYERS)
def test_padding_modes_as_the_older_exporter_writes_them(layer: str, mode: str) -> None:
    torch.manual_seed(0)
    kind, shape, settings = LAYERS[layer]
    network = nn.Sequential(kind(shape[0], 4, padding_mode=mode, **settings), nn.Flatten())
    assert_tight(graph_of(network, shape), 1e-5)


@pytest.mark.parametrize("behind", [nn.Identity, lambda: nn.AvgPool2d(2)])
def test_a_large_circular_convolution_is_its_fourier_blocks(behind: Callable[[], nn.Module]) -> None:
    """Too large for its matrix; an average of 2x2 pixels has the norm 1/2."""
    torch.manual_seed(1)
    conv = nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular")
    bound = network_bound(graph_of(nn.Sequential(conv, behind(), nn.Flatten()), (6, 40, 48)))
    blocks = np.fft.fft2(conv.weight.detach().double().numpy(), (40, 48)).transpose(2, 3, 0, 1)
    truth = np.linalg.norm(blocks, 2, axis=(2, 3)).max() * (1 if behind is nn.Identity else 0.5)
    assert truth * (1 - 1e-13) <= bound.upper <= truth * (1 + 1e-6)
    assert [layer.rule for layer in bound.layers[:3]] == ["linear"] * 3


def in_front_of_a_convolution(*operators: Operator) -> Graph:
    """One node after the other, then a convolution of 2 channels without padding."""
    nodes = [Node(operator, (str(i),), str(i + 1), i) for i, operator in enumerate(operators)]
    shape: tuple[int, ...] = (2, 5, 6)
    for operator in operators:
        shape = operator.shape(shape)
    torch.manual_seed(2)
    (conv, flat) = graph_of(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), shape).nodes
    end = len(nodes)
    nodes += [Node(conv.operator, (str(end),), "c", end), Node(flat.operator, ("c",), "y", end + 1)]
    return Graph.build("0", (2, 5, 6), "y", nodes)


PAD, GATHER = partial(new_operator, "Pad"), partial(new_operator, "Gather")
SCALE = new_operator("Mul", np.array([2.0, 3.0]).reshape(2, 1, 1))
WRAP, ZEROS = PAD("wrap", ((0, 0), (1, 2), (2, 0)), 0.0), PAD("constant", ((0, 0), (1, 0), (0, 2)), 0.0)
MOVED = {
    "padding, then factors": [WRAP, SCALE],
    "factors, then padding": [SCALE, WRAP],
    "one axis after the other": [
        PAD("wrap", ((0, 0), (2, 1), (0, 0)), 0.0),
        PAD("wrap", ((0, 0), (0, 0), (0, 1)), 0.0),
    ],
    "twice": [WRAP, PAD("wrap", ((0, 0), (1, 1), (1, 1)), 0.0)],
    "two modes": [PAD("reflect", ((0, 0), (2, 1), (0, 0)), 0.0), PAD("edge", ((0, 0), (0, 0), (1, 1)), 0.0)],
    "zeros, then wrapped": [ZEROS, WRAP],
    "wrapped, then zeros": [WRAP, ZEROS],
    "zeros with factors": [SCALE, ZEROS],
    "any pixels": [GATHER(np.array([4, 0, 0, 3, 2]), 1), GATHER(np.array([5, 5, 1, 0, 0, 2, 4]), 2), SCALE],
    "channels": [SCALE, GATHER(np.array([1, 0]), 0), SCALE],
    "copied channels": [GATHER(np.array([1, 1]), 0), SCALE],
    "cut": [new_operator("Slice", (1,), ((1, 5, 1),)), SCALE],
    "transposed": [new_operator("Transpose", (0, 2, 1)), WRAP],
    "all pixels mixed": [new_operator("Reshape", (60,)), GATHER(np.arange(60)[::-1].reshape(2, 6, 5) // 2, 0), SCALE],
    "from a row": [new_operator("Reshape", (60,)), new_operator("Reshape", (2, 6, 5)), SCALE],
}


@pytest.mark.parametrize("operators", MOVED)
def test_what_is_moved_in_front_of_a_convolution_is_multiplied_out_with_it(operators: str) -> None:
    graph = in_front_of_a_convolution(*MOVED[operators])
    assert_tight(graph)


class Joined(nn.Module):
    def __init__(self, cut: Callable[[torch.Tensor], list[torch.Tensor]]) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.cut(x), dim=1)


CUTS = {
    "focus": (lambda x: [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1),
    "twice": (lambda x: [x, x], np.sqrt(2)),
    "overlapping": (lambda x: [x[:, :3], x[:, 1:], x[:, 2:3]], np.sqrt(3)),
    "shuffled": (lambda x: [x[:, 1::2], x[:, ::2]], 1),
    "turned": (lambda x: [x, x.transpose(2, 3), x.flip(3)[:, :1]], np.sqrt(3)),
    "cut from what was joined": (lambda x: [torch.cat([x, x[:, :1]], 1)[:, 3:], x[:, :2]], np.sqrt(2)),
}


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_cut_and_joined_again(cut: str) -> None:
    graph = graph_of(nn.Sequential(Joined(CUTS[cut][0]), nn.Flatten()), (4, 4, 4))
    gathered = with_gathers(graph)
    assert not any(node.operator.name == "Concat" for node in gathered.nodes)
    assert np.array_equal(matrix_of(gathered), matrix_of(graph))
    upper = network_bound(graph).upper
    assert CUTS[cut][1] <= upper <= CUTS[cut][1] * (1 + 1e-15)
    assert np.linalg.norm(matrix_of(graph), 2) == pytest.approx(upper, rel=1e-13)


def test_what_is_no_copy_of_one_activation_stays() -> None:
    for cut in (lambda x: [x, torch.relu(x)], lambda x: [x[:, :2], torch.tanh(x[:, 1:])]):
        graph = graph_of(nn.Sequential(Joined(cut), nn.Flatten()), (4, 3, 3))
        assert with_gathers(graph).digest == graph.digest
        assert network_bound(graph).upper == pytest.approx(np.sqrt(2), rel=1e-15)


def test_the_copies_of_a_stranger_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(nn.Sequential(Joined(lambda x: [x[:, 1::2], x[:, ::2]]), nn.Flatten()), (4, 4, 4))
    monkeypatch.setattr("radii.lipschitz.network.copies.MOST_ENTRIES", 100)
    assert with_gathers(graph).digest == graph.digest
