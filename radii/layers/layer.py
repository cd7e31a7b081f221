"""What all layers with weights share: the map they act by, the slack, and the way to plain layers for export."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from radii.layers.maps import LinearMap, Size, linear_map

SLACK = 1e-6
"""By how much a layer is shrunk: with its weights rounded to float32, its norm would else be 1 + 5e-8."""


class LipschitzLayer(nn.Module):
    """A layer whose weights are made of its parameters at every call.

    Args:
        kernel_size: of a convolution; None: the layer is dense, on the last axis.
        stride, padding_mode: of a convolution.
        slack: the layer is shrunk by ``1 + slack``; 0 gives the formula of its paper.
    """

    def __init__(self, kernel_size: int | None, *, stride: int = 1, padding_mode: str = "zeros", slack: float) -> None:
        super().__init__()
        self.on: LinearMap = linear_map(kernel_size, stride=stride, padding_mode=padding_mode)
        self.slack = slack

    def plain(self, size: Size) -> nn.Module:
        """The same function of inputs of that size (without the batch) as a module with weights of its own."""
        raise NotImplementedError


class Affine(nn.Module):
    """``W x + b`` with weights of its own."""

    def __init__(self, on: LinearMap, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.on = on
        self.weight = nn.Parameter(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.on.apply(x, self.weight, self.bias)


def plain(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy of a model, to be exported, whose layers of this package are plain ones: the function is the same.

    Weights are made in float64 and rounded once to the parameters' type; where this is float32, exported weights keep
    each layer's bound below 1, thanks to its slack.

    Args:
        model: in eval mode from then on, as a copy; the model itself stays as it is.
        x: an input, with its batch: what size of images a layer sees decides what its weights are.
    """
    model = copy.deepcopy(model).eval()
    sizes: dict[LipschitzLayer, Size] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(layer, LipschitzLayer)
        sizes[layer] = tuple(inputs[0].shape[1:])

    layers = [layer for layer in model.modules() if isinstance(layer, LipschitzLayer)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        model(x)
        for hook in hooks:
            hook.remove()
        made = {layer: _rounded(layer, size) for layer, size in sizes.items()}
    if isinstance(model, LipschitzLayer):
        return made[model]
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, LipschitzLayer):
                setattr(parent, name, made[child])
    return model


def _rounded(layer: LipschitzLayer, size: Size) -> nn.Module:
    dtype = next(layer.parameters()).dtype
    return layer.double().plain(size).to(dtype).eval()
