"""Operators that scatter: transposed convolution, and Col2Im, its special case of a constant kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import sqrt_up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.ops.windows import ATTRIBUTES, LARGEST, Windows, read_windows
from radii.graph.rules import Convolution, Rule, Slope
from radii.graph.views import View, by_channel

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = ("kernel_shape", "strides", "pads", "dilations")


@onnx_operator(inputs=3, **ATTRIBUTES, group="int", output_padding="ints", output_shape="ints")
@dataclass(frozen=True, eq=False)
class ConvTranspose(Operator):
    """The adjoint of a convolution; ``weight`` is (in, out/groups, *kernel), pads crop, ``extra`` adds behind."""

    behaviour = "spectral norm of the convolution that it is the adjoint of"
    adds = "bias"
    weight: np.ndarray
    bias: np.ndarray | None
    windows: Windows
    extra: tuple[int, ...]
    groups: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, weight, bias = call.activation(), call.weight(1), call.constant(2)
        groups, kernel = call.get("group", 1), weight.shape[2:]
        if tuple(call.get("kernel_shape", kernel)) != kernel:
            raise Refusal("kernel_shape is not the shape of the kernel", "Export the model again")
        plain = replace(call, attributes={name: call.get(name) for name in WINDOW if name in call.attributes})
        windows, extra = read_windows(plain, x, kernel), tuple(call.get("output_padding", (0,) * len(kernel)))
        return cls(weight, bias, _cropped(call, windows, extra, x.shape[1:]), extra, groups)

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        weight, groups, windows = self.weight, self.groups, self.windows
        hold(weight.ndim == len(x) + 1, "the kernel does not have the axes of its input")
        windows.check(x)
        hold(windows.kernel == weight.shape[2:] and not windows.ceil, "the windows are not those of its kernel")
        hold(
            groups >= 1 and weight.shape[0] % groups == 0 and x[0] == weight.shape[0],
            f"{x[0]} channels in {groups} groups meet a kernel for {weight.shape[0]}",
            "Export the model again with an input of the right shape",
        )
        one_each = self.bias is None or self.bias.shape == (weight.shape[1] * groups,)
        hold(one_each, "the bias does not have one entry a channel")
        steps = zip(self.extra, windows.strides, windows.dilations, strict=True)
        small = all(0 <= extra < max(stride, dilation) for extra, stride, dilation in steps)
        hold(small, "output_padding must be smaller than the stride or the dilation")

    def scratch(self, *inputs: Shape) -> int:
        lengths = _lengths(self.windows, inputs[0][1:])
        return int(self.weight.shape[1]) * self.groups * prod(map(sum, zip(lengths, self.extra, strict=True)))

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        windows = self.windows
        functional = torch.nn.functional
        spread = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
        y: Tensor = spread[len(windows.kernel) - 1](
            inputs[0], arrays["weight"], stride=windows.strides, dilation=windows.dilations, groups=self.groups
        )
        amounts: list[int] = []
        for (low, high), extra in zip(windows.pads, self.extra, strict=True):
            amounts[:0] = [-low, extra - high]
        y = torch.nn.functional.pad(y, amounts)
        return y if "bias" not in arrays else y + arrays["bias"].reshape(-1, *[1] * len(windows.kernel))

    def shape(self, *inputs: Shape) -> Shape:
        sizes = inputs[0][1:]
        lengths = _lengths(self.windows, sizes)
        made = tuple(n - sum(pads) + e for n, pads, e in zip(lengths, self.windows.pads, self.extra, strict=True))
        if min(made) < 1:
            raise Refusal("nothing is left after cropping", "Use smaller pads")
        return (self.weight.shape[1] * self.groups, *made)

    def lipschitz(self, *inputs: Shape) -> Rule:
        windows = self.windows
        return Convolution(
            self.weight,
            inputs[0][1:],
            windows.strides,
            windows.pads,
            windows.dilations,
            self.groups,
            transposed=True,
            output_padding=self.extra,
        )

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(inputs[0][1:]) * self.weight.size

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call, repeated=(1, 2), groups="group")


def _lengths(windows: Windows, sizes: tuple[int, ...]) -> list[int]:
    """What all windows cover together, along each axis."""
    return [
        (size - 1) * s + d * (k - 1) + 1
        for size, k, s, d in zip(sizes, windows.kernel, windows.strides, windows.dilations, strict=True)
    ]


def _cropped(call: Call, windows: Windows, extra: tuple[int, ...], sizes: tuple[int, ...]) -> Windows:
    """The windows with the pads that ``output_shape`` or ``auto_pad`` ask for."""
    auto, wanted = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Refusal("auto_pad has an unknown value", "Give pads instead")
    if wanted is None:
        if not auto.startswith("SAME"):
            return windows
        wanted = tuple(size * s for size, s in zip(sizes, windows.strides, strict=True))
    elif len(wanted) != len(sizes):
        raise Refusal("output_shape does not have a size for every axis of the kernel", "Give those sizes alone")
    totals = [n + e - w for n, e, w in zip(_lengths(windows, sizes), extra, wanted, strict=True)]
    if "pads" in call.attributes and any(call.get("pads")):
        raise Refusal("pads and what decides them are both given", "Give one of the two")
    if not all(0 <= total <= LARGEST for total in totals):
        raise Refusal("the output's shape asks for more than there is", "Give pads and output_padding instead")
    halves = [(total // 2, total - total // 2) for total in totals]
    return replace(windows, pads=tuple(half if auto == "SAME_UPPER" else half[::-1] for half in halves))


@onnx_operator(inputs=3, dilations="ints", pads="ints", strides="ints")
@dataclass(frozen=True, eq=False)
class Col2Im(Operator):
    """Adds up columns (channels * kernel, windows) to an image of (channels, *image); two spatial axes."""

    behaviour = "square root of the most windows that cover one pixel"
    windows: Windows  # of the image
    image: tuple[int, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, image, kernel = call.activation(), call.integers(1, "image_shape"), call.integers(2, "block_shape")
        if x.rank != 3 or image is None or kernel is None or len(image) != 2 or len(kernel) != 2:
            raise Refusal("it is supported for columns of images of two axes", "Use one image of two axes")
        call.limits.check_tensor(image)
        pixels = replace(x, shape=(1, *image))
        windows = read_windows(call, pixels, kernel)
        return cls(windows, image)

    def check(self, *inputs: Shape) -> None:
        hold(len(inputs[0]) == len(self.image) == 2 and min(self.image) >= 1, "it needs an image of two axes")
        self.windows.check((1, *self.image))
        hold(not self.windows.ceil, "its windows are rounded up")
        equal = all(low == high for low, high in self.windows.pads)
        hold(equal, "its pads differ before and behind", "Use equal pads")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        windows = self.windows
        padding = tuple(low for low, _ in windows.pads)
        return torch.nn.functional.fold(
            inputs[0], self.image, windows.kernel, windows.dilations, padding, windows.strides
        )

    def shape(self, *inputs: Shape) -> Shape:
        rows, columns = inputs[0]
        kernel = prod(self.windows.kernel)
        if rows % kernel or columns != prod(self.windows.outputs(self.image)):
            raise Refusal("the columns are not those of the image", "Export the model again")
        return (rows // kernel, *self.image)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(sqrt_up(prod(self.windows.covers(self.image))))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call)
