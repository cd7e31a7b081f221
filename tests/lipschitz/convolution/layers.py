"""Random convolution layers over the whole parameter space, and their explicit matrices from PyTorch itself."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def random_layer(rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...], dict[str, Any]]:
    """``(weight, input_size, settings)`` of a layer with at least one output and at most some hundred columns."""
    while True:
        axes = int(rng.choice([1, 1, 2, 2, 2, 3]))
        groups = int(rng.choice([1, 1, 2]))
        out, inner = groups * int(rng.integers(1, 4)), int(rng.integers(1, 4))
        pixels = {1: 24, 2: 8, 3: 4}[axes]
        kernel = rng.integers(1, {1: 9, 2: 5, 3: 3}[axes] + 1, axes)
        size = rng.integers(1, pixels + 1, axes)
        stride, dilation = rng.integers(1, 4, axes), rng.integers(1, 4, axes)
        transposed = bool(rng.random() < 0.25)
        mode = "zeros" if transposed else str(rng.choice(["zeros", "zeros", "circular", "reflect", "replicate"]))
        pads = rng.integers(0, 4, (axes, 2))
        extent = dilation * (kernel - 1) + 1
        extra = rng.integers(0, 3, axes) if transposed else np.zeros(axes, dtype=int)
        widest = {"circular": size, "reflect": size - 1}.get(mode, size + 99)
        if (pads > widest[:, None]).any():
            continue
        if (extra >= np.maximum(stride, dilation)).any():
            continue
        outputs = (size - 1) * stride + extent - pads.sum(1) + extra if transposed else size + pads.sum(1) - extent
        if (outputs < (1 if transposed else 0)).any() or (transposed and outputs.prod() > 700):
            continue
        weight = rng.standard_normal((out, inner, *kernel))
        if rng.random() < 0.3:  # smooth or alternating kernels reach their norm at the lowest or highest frequency
            weight = np.abs(weight) * (-1.0) ** (rng.integers(0, 2) * np.indices(weight.shape[2:]).sum(0))
        settings = {
            "stride": tuple(map(int, stride)),
            "padding": tuple((int(low), int(high)) for low, high in pads),
            "dilation": tuple(map(int, dilation)),
            "groups": groups,
            "padding_mode": mode,
            "transposed": transposed,
            "output_padding": tuple(map(int, extra)),
        }
        return weight, tuple(map(int, size)), settings


def apply(weight: np.ndarray, x: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """The layer on a batch x (B, channels, *size), by PyTorch's own functions in float64."""
    kernel = torch.from_numpy(weight)
    axes = kernel.ndim - 2
    common = {key: settings[key] for key in ("stride", "dilation", "groups")}
    pads = settings["padding"]
    flat = [p for pair in reversed(pads) for p in pair]
    if settings["transposed"]:
        # without cropping, then cropped by hand: PyTorch knows symmetric padding only; enough is added on the right
        extra = settings["output_padding"]
        y = TRANSPOSED[axes](x, kernel, **common)
        y = F.pad(y, [e for extra_axis in reversed(extra) for e in (0, extra_axis)])
        return F.pad(y, [-p for p in flat])
    mode = {"zeros": "constant"}.get(settings["padding_mode"], settings["padding_mode"])
    return CONV[axes](F.pad(x, flat, mode=mode), kernel, **common)


def explicit_matrix(weight: np.ndarray, size: tuple[int, ...], settings: dict[str, Any]) -> np.ndarray:
    """(outputs, inputs) from the layer's answer to every unit vector."""
    channels = weight.shape[0] if settings["transposed"] else weight.shape[1] * settings["groups"]
    inputs = channels * int(np.prod(size))
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, channels, *size)
    return apply(weight, basis, settings).reshape(inputs, -1).T.numpy()
