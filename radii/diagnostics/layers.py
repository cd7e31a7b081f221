"""The dense layers and convolutions of a network as matrices that are linear in their weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from radii.diagnostics.objective import Objective
from radii.diagnostics.singular import Apply, LinearLayer
from radii.graph import Node
from radii.graph.module import GraphModule
from radii.graph.rules import Convolution, Dense, Matrices

LINEAR = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def circular_blocks(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """(out, in, *size): the matrix ``sum_t K[t] exp(-2 pi i f t / n)`` of every frequency of a torus."""
    blocks = kernel.to(torch.complex128)
    for phase in _phases(kernel, size):
        blocks = torch.tensordot(blocks, phase.T, dims=([2], [0]))  # the axis goes to the end
    return blocks


def circular_layer(name: str, kernel: Tensor, size: tuple[int, ...]) -> LinearLayer:
    """A convolution (out, in, *kernel) of stride 1 on a torus, by its block at the frequency where that is largest.

    The frequency with the other sign has the same norm by structure; the block itself knows nothing of that tie.
    """
    norms = torch.linalg.matrix_norm(circular_blocks(kernel, size).flatten(2).permute(2, 0, 1), 2)
    wave = torch.ones((), dtype=torch.complex128)
    for phase, at in zip(_phases(kernel, size), torch.unravel_index(norms.argmax(), size), strict=True):
        wave = torch.tensordot(wave, phase[int(at)], dims=0)

    def apply(weight: Tensor, vectors: Tensor) -> Tensor:
        return vectors @ (weight * wave).flatten(2).sum(2).T

    return LinearLayer(name, kernel, apply, kernel.shape[1], kernel.shape[0], circular=True)


def _phases(kernel: Tensor, size: tuple[int, ...]) -> list[Tensor]:
    """(n, taps) for each axis."""
    return [
        torch.exp(-2j * math.pi * torch.outer(torch.arange(n).double(), torch.arange(taps).double()) / n)
        for n, taps in zip(size, kernel.shape[2:], strict=True)
    ]


def layers_of(objective: Objective) -> list[LinearLayer]:
    """The dense layers and convolutions of an objective's network, in the order in which they run."""
    module = objective.module
    return _of_graph(objective, module) if isinstance(module, GraphModule) else _of_module(objective, module)


def _of_graph(objective: Objective, module: GraphModule) -> list[LinearLayer]:
    weights, found = objective.split(objective.point), []
    for i, node in enumerate(module.graph.nodes):
        name = f"weight_{i}"
        if name not in weights:
            continue
        rule = node.operator.lipschitz(*module.graph.input_shapes(node))
        if isinstance(rule, Dense):
            found.append(dense_layer(name, weights[name]))
        elif isinstance(rule, Convolution | Matrices):
            (shape,) = module.graph.input_shapes(node)
            sizes = math.prod(shape), math.prod(module.graph.shapes[node.output])
            found.append(LinearLayer(name, weights[name], _node_apply(node, shape), *sizes))
    return found


def dense_layer(name: str, weight: Tensor) -> LinearLayer:
    """A matrix (m, n)."""
    return LinearLayer(name, weight, lambda other, vectors: vectors @ other.T, weight.shape[1], weight.shape[0])


def _node_apply(node: Node, shape: tuple[int, ...]) -> Apply:
    adds = node.operator.adds
    fixed = {
        name: torch.zeros(array.shape, dtype=torch.float64)
        for name, array in node.operator.arrays().items()
        if name == adds
    }

    def apply(weight: Tensor, vectors: Tensor) -> Tensor:
        made = node.operator.run([vectors.reshape(-1, *shape)], fixed | {"weight": weight})
        return made.flatten(1)

    return apply


def _of_module(objective: Objective, module: nn.Module) -> list[LinearLayer]:
    weights, shapes = objective.split(objective.point), dict[str, tuple[int, ...]]()
    parts = {f"{name}.weight" if name else "weight": part for name, part in module.named_modules()}
    linear = {name: part for name, part in parts.items() if name in weights and isinstance(part, LINEAR)}

    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(part: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            shapes.setdefault(name, tuple(given[0].shape[1:]))

        return keep

    hooks = [part.register_forward_hook(keeper(name)) for name, part in linear.items()]
    try:
        with torch.no_grad():
            objective.logits(objective.point, objective.x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [_part_layer(name, linear[name], weights[name], shape) for name, shape in shapes.items()]


def _part_layer(name: str, part: nn.Module, weight: Tensor, shape: tuple[int, ...]) -> LinearLayer:
    if isinstance(part, nn.Linear):
        return dense_layer(name, weight)
    if is_circular(part, shape[1:]):
        return circular_layer(name, weight, shape[1:])
    bias = {key: torch.zeros_like(value).double() for key, value in part.named_parameters() if key == "bias"}

    def apply(other: Tensor, vectors: Tensor) -> Tensor:
        made: Tensor = functional_call(part, {"weight": other, **bias}, (vectors.reshape(-1, *shape),))
        return made.flatten(1)

    inputs = math.prod(shape)
    with torch.no_grad():
        outputs = apply(weight, torch.zeros((1, inputs), dtype=torch.float64)).numel()
    return LinearLayer(name, weight, apply, inputs, outputs)


def is_circular(part: nn.Module, size: tuple[int, ...]) -> bool:
    """Whether it is a circular convolution on its own size, in one group and without gaps."""
    if not isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    once = part.groups == 1 and set(part.stride) == set(part.dilation) == {1} and part.padding_mode == "circular"
    whole = isinstance(part.padding, tuple) and all(
        2 * pad == taps - 1 for pad, taps in zip(part.padding, part.kernel_size, strict=True)
    )
    return once and whole and all(taps <= n for taps, n in zip(part.kernel_size, size, strict=True))
