"""The norms of a network's layers as something to train: their product bounds what the network amplifies."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from radii.training.spectral import spectral_norm


class LayerNorms(nn.Module):
    """Estimates of the spectral norms of all ``nn.Linear`` and ``nn.Conv2d`` of a network (:func:`spectral_norm`).

        norms = LayerNorms(model, x)           # once
        loss = loss + 1e-3 * norms().log().sum()

    Where everything between is 1-Lipschitz (ReLU, pools without overlap, layers of :mod:`radii.layers`),
    ``norms().prod()`` estimates a bound of the network's constant. To train with, not to certify: batch norms count for
    nothing here.

    Args:
        model: kept by reference, and not as a part of this module.
        x: an input with its batch; the size of the image that a convolution sees is a part of what it is.

    Raises:
        ValueError: there is no such layer, or a convolution is padded by reflection or by copies.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        sizes: dict[nn.Module, tuple[int, ...]] = {}

        def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            sizes[layer] = tuple(inputs[0].shape[-2:])

        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        hooks = [layer.register_forward_pre_hook(note) for layer in layers]
        training = model.training
        with torch.no_grad():
            model.eval()(x)
        model.train(training)
        for hook in hooks:
            hook.remove()
        self._layers = tuple(sizes.items())  # a tuple, so that they do not become modules of this one
        if not self._layers:
            raise ValueError("the network has no nn.Linear and no nn.Conv2d whose norm could be trained")
        for layer, _ in self._layers:
            if isinstance(layer, nn.Conv2d) and layer.padding_mode not in ("zeros", "circular"):
                raise ValueError(f"{layer} is padded by {layer.padding_mode!r}; use zeros or circular")

    def forward(self) -> Tensor:
        """(layers,) in the order in which they run."""
        return torch.stack([self._norm(layer, size) for layer, size in self._layers])

    def _norm(self, layer: nn.Module, size: tuple[int, ...]) -> Tensor:
        if isinstance(layer, nn.Linear):
            return spectral_norm(layer.weight)
        assert isinstance(layer, nn.Conv2d)
        kernels, torus = _on_torus(layer.weight, layer, size)
        norms = [spectral_norm(kernel, torus=torus) for kernel in kernels.chunk(layer.groups)]
        return norms[0] if layer.groups == 1 else torch.stack(norms).amax()


def spectral_penalty(norms: Tensor, *, target: float = 1.0) -> Tensor:
    """``sum max(0, norm - target)^2``: pulls every norm down to the target, and not below."""
    return functional.relu(norms - target).square().sum()


def _on_torus(kernel: Tensor, layer: nn.Conv2d, size: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """The kernels of the same norms with stride and dilation 1, and a torus that holds it (docs/numerics.md 2.3 and
    2.4).
    """
    torus = []
    for axis, pixels in enumerate(size):
        k, s, d = kernel.shape[2 + axis], layer.stride[axis], layer.dilation[axis]
        extent = d * (k - 1) + 1
        low, high = _padding(layer, axis, extent)
        outputs = (pixels + low + high - extent) // s + 1
        if layer.padding_mode == "circular":
            held = max(pixels, extent)
        else:
            held = max(pixels + max(low, extent - 1 - low), outputs * s, extent)
        torus.append(math.ceil(held / s))
        if d > 1:
            places = torch.arange(k, device=kernel.device) * d
            kernel = kernel.new_zeros([*kernel.shape[: 2 + axis], extent, *kernel.shape[3 + axis :]]).index_add(
                2 + axis, places, kernel
            )
        if s > 1:  # pixels of one residue become a channel
            missing = -extent % s
            kernel = functional.pad(kernel, [0, 0] * (1 - axis) + [0, missing])
            shape = (*kernel.shape[: 2 + axis], -1, s, *kernel.shape[3 + axis :])
            kernel = kernel.reshape(shape).movedim(3 + axis, 1).flatten(1, 2)
    return kernel, tuple(torus)


def _padding(layer: nn.Conv2d, axis: int, extent: int) -> tuple[int, int]:
    if isinstance(layer.padding, str):
        both = extent - 1 if layer.padding == "same" else 0
        return both // 2, both - both // 2
    return layer.padding[axis], layer.padding[axis]
