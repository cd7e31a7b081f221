"""Convolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.ops.windows import ATTRIBUTES, Windows, read_windows
from radii.graph.pen import Pen
from radii.graph.rules import Convolution, Rule
from radii.graph.views import View, by_channel

if TYPE_CHECKING:
    from torch import Tensor


def symmetric(windows: Windows) -> bool:
    """Whether torch pads them."""
    return all(low == high for low, high in windows.pads)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows, groups: int) -> Tensor:
    """The convolution by torch."""
    functional = torch.nn.functional
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[len(windows.kernel) - 1]
    return convolve(
        x if symmetric(windows) else windows.padded(x, 0.0),
        weight,
        bias,
        stride=windows.strides,
        padding=tuple(low for low, _ in windows.pads) if symmetric(windows) else 0,
        dilation=windows.dilations,
        groups=groups,
    )


@onnx_operator(inputs=3, **ATTRIBUTES, group="int")
@dataclass(frozen=True, eq=False)
class Conv(Operator):
    """Cross-correlation with zero padding in one, two or three axes; ``weight`` is (out, in/groups, *kernel)."""

    behaviour = "spectral norm of the convolution at the input's size, stride and zero padding included"
    adds = "bias"
    weight: np.ndarray
    bias: np.ndarray | None
    windows: Windows
    groups: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, weight, bias = call.activation(), call.weight(1), call.constant(2)
        kernel = weight.shape[2:]
        if tuple(call.get("kernel_shape", kernel)) != kernel:
            raise Refusal("kernel_shape is not the shape of the kernel", "Export the model again")
        return cls(weight, bias, read_windows(call, x, kernel), call.get("group", 1))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        weight, groups = self.weight, self.groups
        hold(weight.ndim == len(x) + 1, "the kernel does not have the axes of its input")
        self.windows.check(x)
        hold(
            self.windows.kernel == weight.shape[2:] and not self.windows.ceil, "the windows are not those of its kernel"
        )
        hold(
            groups >= 1 and weight.shape[0] % groups == 0 and x[0] == weight.shape[1] * groups,
            f"{x[0]} channels in {groups} groups meet a kernel for {weight.shape[1]} a group",
            "Export the model again with an input of the right shape",
        )
        hold(self.bias is None or self.bias.shape == weight.shape[:1], "the bias does not have one entry a channel")

    def scratch(self, *inputs: Shape) -> int:
        return 0 if symmetric(self.windows) else self.windows.padding(inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        windows = self.windows
        if x.dtype == torch.bfloat16 and x.is_cpu and windows.kernel[-1] >= 8 and self.weight.shape[1] < 16:
            # oneDNN 3.12 (torch 2.13) computes nonsense for some of these on processors with AMX; this rounds once
            return self.run([x.float()], {name: array.float() for name, array in arrays.items()}).to(x.dtype)
        return convolved(x, arrays["weight"], arrays.get("bias"), windows, self.groups)

    def transposed(self, form: Tensor, arrays: Mapping[str, Tensor], *inputs: Shape) -> tuple[Tensor | None, ...]:
        windows, weight = self.windows, arrays["weight"]
        if not symmetric(windows):
            return super().transposed(form, arrays, *inputs)
        x = form.new_empty(1).expand(len(form), *inputs[0])  # of which it needs the shape alone
        axes, padding = len(windows.kernel), [low for low, _ in windows.pads]
        made: Tensor = torch.ops.aten.convolution_backward(
            form, x, weight, None, windows.strides, padding, windows.dilations, False, [0] * axes, self.groups,
            [True, False, False],
        )[0]  # fmt: skip
        return (made,)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return (self.weight.shape[0], *self.windows.outputs(shape[1:]))

    def lipschitz(self, *inputs: Shape) -> Rule:
        windows = self.windows
        return Convolution(self.weight, inputs[0][1:], windows.strides, windows.pads, windows.dilations, self.groups)

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(self.shape(*inputs)[1:]) * self.weight.size

    def rescaled(self, scale: np.ndarray, offset: np.ndarray, output: Shape) -> Conv:
        bias = offset if self.bias is None else scale * self.bias + offset
        column = scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return Conv(column * self.weight, bias, self.windows, self.groups)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call, repeated=(1, 2), groups="group")

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        given = [*inputs, *pen.given(self.weight, self.bias)]
        pen.node("Conv", given, output, group=self.groups, **self.windows.written(shapes[0][1:]))
