"""Blocks on a torus: what they make of an image is what the nodes make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, to_module
from radii.lipschitz.network.chain import Walk, chains
from radii.lipschitz.network.fourier import OnTorus, Torus, first_torus, fourier_blocks
from radii.lipschitz.network.linear import NotApplicable, Piece
from radii.lipschitz.network.norms import node_norms
from tests.lipschitz.network.test_bound import graph_of


def piece_of(graph: Graph) -> Piece:
    """A graph without activations, as one piece, but for the node that flattens what it makes."""
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    (chain,) = chains(Walk(graph, rules, node_norms(graph, rules, 1e-6)[0]))
    (piece,) = chain.pieces
    return piece.part(0, len(piece.nodes) - 1)


def made_by_nodes(graph: Graph, image: np.ndarray) -> np.ndarray:
    """What the graph makes of an image, in the shape that it has before it is flattened."""
    flat = to_module(graph, dtype=torch.float64)(torch.from_numpy(image)[None])[0].detach().numpy()
    return flat.reshape(graph.shapes[graph.nodes[-1].inputs[0]])


def whole(spectrum: np.ndarray, torus: Torus) -> np.ndarray:
    """Stored frequencies (channels, F) of a real image, with the conjugates that are not stored."""
    stored = spectrum.reshape(len(spectrum), *torus.size[:-1], torus.size[-1] // 2 + 1)
    places = np.indices(torus.size)
    sizes = np.array(torus.size).reshape(-1, *[1] * len(torus.size))
    mirrored = places[-1] >= stored.shape[-1]
    places = np.where(mirrored, -places % sizes, places)
    made: np.ndarray = stored[(slice(None), *places)]
    return np.where(mirrored, made.conj(), made)


def made_on_torus(here: OnTorus, torus: Torus, image: np.ndarray) -> np.ndarray:
    """What the blocks make of an image (channels, *pixels) in a corner of the torus in front of them."""
    axes = tuple(range(1, image.ndim))
    padded = np.zeros((len(image), *torus.size))
    padded[(slice(None), *(slice(n) for n in image.shape[1:]))] = image
    spectrum = np.fft.rfftn(padded, axes=axes, norm="ortho").reshape(len(image), -1).T[:, :, None]
    if here.aliases is None:
        made = here.blocks @ spectrum
    else:
        read = here.aliases.of(spectrum)
        made = here.blocks @ read.reshape(len(read), -1, 1)
    return np.fft.ifftn(whole(made[:, :, 0].T, here.torus), axes=axes, norm="ortho")


def random_convolution(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    axes = int(rng.integers(1, 3))
    channels, groups = int(rng.integers(1, 4)) * 2, int(rng.choice([1, 2]))
    kernel, stride, dilation = (tuple(rng.integers(1, most, axes).tolist()) for most in (4, 4, 3))
    padding = tuple(int(rng.integers(0, k + 1)) for k in kernel)
    size = tuple(int(rng.integers(d * (k - 1) + 1, 10)) for k, d in zip(kernel, dilation, strict=True))
    kind: Any = (nn.Conv1d, nn.Conv2d)[axes - 1]
    layer = kind(channels, 4, kernel, stride, padding, dilation=dilation, groups=groups, bias=False)
    return layer, (channels, *size)


@pytest.mark.parametrize("seed", range(40))
def test_a_convolution_on_a_torus_makes_what_it_makes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    layer, shape = random_convolution(rng)
    graph = graph_of(nn.Sequential(layer, nn.Flatten()), shape)
    piece = piece_of(graph)
    torus = first_torus([piece])
    image = rng.standard_normal(graph.input_shape)
    here = fourier_blocks(piece, torus)
    made = made_on_torus(here, torus, image)
    truth = made_by_nodes(graph, image)
    corner = made[(slice(None), *(slice(n) for n in truth.shape[1:]))]
    assert corner == pytest.approx(truth, abs=1e-12)
    assert 0 < here.error < 1e-11


IN_A_ROW: dict[str, Callable[[], list[nn.Module]]] = {
    "a pool and a convolution": lambda: [nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, 2, 1)],
    "two pools": lambda: [nn.AvgPool2d(2), nn.AvgPool2d((3, 2), (2, 1))],
    "a convolution of one pixel and one of nine": lambda: [nn.Conv2d(2, 4, 1, 2, bias=False), nn.Conv2d(4, 3, 3, 3, 1)],
    "factors": lambda: [nn.BatchNorm2d(2).eval(), nn.Conv2d(2, 3, 3, 2, 1), nn.BatchNorm2d(3).eval()],
}


@pytest.mark.parametrize("layers", IN_A_ROW)
def test_nodes_in_a_row_on_a_torus(layers: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*IN_A_ROW[layers](), nn.Flatten())
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    graph = graph_of(network, (2, 12, 10))
    piece = piece_of(graph)
    torus = first_torus([piece])
    image = np.random.default_rng(0).standard_normal(graph.input_shape)
    truth = made_by_nodes(graph, image)
    made = made_on_torus(fourier_blocks(piece, torus), torus, image)
    assert made[(slice(None), *(slice(n) for n in truth.shape[1:]))] == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Conv2d(2, 3, 3, 2, 1), nn.Conv2d(3, 3, 3)],
        lambda: [nn.AvgPool2d(2), nn.Conv2d(2, 3, 3)],  # rows are left over, which the torus would keep
        lambda: [nn.AvgPool2d(3, 2, 1), nn.Conv2d(2, 3, 3)],
        lambda: [nn.ConvTranspose2d(2, 3, 3, 2)],
        lambda: [nn.AvgPool2d(3, 2, 1, count_include_pad=False)],
    ],
)
def test_what_no_torus_holds_is_not_put_on_one(layers: Callable[[], list[nn.Module]]) -> None:
    with pytest.raises(NotApplicable):
        first_torus([piece_of(graph_of(nn.Sequential(*layers(), nn.Flatten()), (2, 11, 11)))])
