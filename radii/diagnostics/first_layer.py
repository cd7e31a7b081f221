"""What the first layer passes of each band of frequencies: ``|W P_b|``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from radii.diagnostics.bands import Bands
from radii.diagnostics.jacobian import power_norms
from radii.diagnostics.layers import LINEAR, circular_blocks, is_circular
from radii.diagnostics.objective import in_float64
from radii.graph import Graph, to_module
from radii.graph.module import GraphModule
from radii.graph.rules import Convolution, Dense

MOST_ENTRIES = 2**21  # of the layer's matrix, whose singular values take a second

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """Attributes:
    norm: the largest singular value of the layer as a map of the input, ``|W|``.
    bands: ``|W P_b|``.
    exact: but for rounding; else by power iteration, from below.
    """

    name: str
    norm: float
    bands: tuple[float, ...]
    exact: bool


def circular_norms(kernel: Tensor, bands: Bands) -> tuple[float, ...]:
    """Of a convolution (out, in, *kernel) of stride 1 on a torus: the largest ``|K^(f)|`` of a band's frequencies."""
    norms = torch.linalg.matrix_norm(circular_blocks(kernel, bands.size).flatten(2).permute(2, 0, 1), 2)
    inside = [norms[(bands.of == band).reshape(-1)] for band in range(bands.count)]
    return tuple(float(found.max()) if len(found) else 0.0 for found in inside)


def matrix_norms(rows: Tensor, bands: Bands) -> tuple[float, ...]:
    """Of a matrix given as rows (m, channels, *size)."""
    return tuple(bands.norms(rows).tolist())


def first_layer(module: nn.Module, signals: Tensor, as_given: Map, bands: Bands) -> FirstLayer | None:
    """The first dense layer or convolution, with what stands before it where that is linear: a normalisation of the
    input, a change of shape. None where something else reads the input first.

    Args:
        signals: (N, channels, *size) inputs.
        as_given: makes of them what the network takes.
    """
    if isinstance(module, GraphModule):
        return _of_graph(module.graph, signals, as_given, bands)
    return _of_module(module, signals, as_given, bands)


def _of_graph(graph: Graph, signals: Tensor, as_given: Map, bands: Bands) -> FirstLayer | None:
    name = graph.input
    for place, node in enumerate(graph.nodes):
        if node.inputs != (name,):
            return None
        name = node.output
        rule = node.operator.lipschitz(*graph.input_shapes(node))
        if isinstance(rule, Dense | Convolution):
            before = Graph.build(graph.input, graph.input_shape, name, graph.nodes[: place + 1])
            layer = partial(_behind, to_module(before, dtype=torch.float64), as_given)
            return _of_map(f"{node.index} {node.operator.name}", layer, signals.shape[1:], bands)
        if not (node.operator.linear or node.operator.keeps_order):
            return None
    return None


def _behind(layer: Map, as_given: Map, signals: Tensor) -> Tensor:
    return layer(as_given(signals))


def _of_module(module: nn.Module, signals: Tensor, as_given: Map, bands: Bands) -> FirstLayer | None:
    seen: list[tuple[nn.Module, Tensor]] = []
    x = as_given(signals[:1])
    hooks = [
        part.register_forward_pre_hook(lambda part, given: seen.append((part, given[0])))
        for part in module.modules()
        if isinstance(part, LINEAR)
    ]
    try:
        with torch.no_grad():
            in_float64(module)(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or not torch.equal(seen[0][1].reshape(-1), x.reshape(-1)):  # something else reads the input
        return None
    layer, given = seen[0]
    name = next(name for name, part in module.named_modules() if part is layer)
    if is_circular(layer, given.shape[2:]) and given.shape[1:] == signals.shape[1:]:
        norms = circular_norms(torch.as_tensor(layer.weight).detach().double(), bands)
        return FirstLayer(name, max(norms), norms, exact=True)
    shape = given.shape[1:]
    apply = in_float64(layer)
    return _of_map(name, lambda vectors: apply(as_given(vectors).reshape(-1, *shape)), signals.shape[1:], bands)


def _of_map(name: str, layer: Map, shape: tuple[int, ...], bands: Bands) -> FirstLayer:
    """By the layer's matrix, from its answers to unit vectors; of a large one by power iteration."""
    zero = torch.zeros((1, *shape), dtype=torch.float64)
    with torch.no_grad():
        offset = layer(zero).flatten(1)
    inputs = math.prod(shape)
    if offset.shape[1] * inputs > MOST_ENTRIES:
        norms, whole = power_norms(layer, zero, bands, torch.Generator().manual_seed(0))
        return FirstLayer(name, float(whole), tuple(norms[0].tolist()), exact=False)
    with torch.no_grad():
        made = layer(torch.eye(inputs, dtype=torch.float64).reshape(inputs, *shape)).flatten(1) - offset
    rows = made.T.reshape(-1, *shape)
    return FirstLayer(name, float(torch.linalg.matrix_norm(made, 2)), matrix_norms(rows, bands), exact=True)
