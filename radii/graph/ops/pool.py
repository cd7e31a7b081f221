"""Pooling. Formulas: docs/numerics.md 2.8."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import averaging_norm, sqrt_up, up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.reduce import ReduceMean
from radii.graph.ops.registry import onnx_operator
from radii.graph.ops.windows import ATTRIBUTES, Windows, read_windows
from radii.graph.pen import Pen, Unwritable
from radii.graph.rules import Convolution, Rule, Slope
from radii.graph.views import View, by_channel

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pool(Operator):
    """Windows over the spatial axes, channel by channel."""

    windows: Windows

    @classmethod
    def windows_of(cls, call: Call) -> Windows:
        """The windows of a node."""
        x, kernel = call.activation(), call.get("kernel_shape")
        if kernel is None:
            raise Refusal("kernel_shape is missing", "Export the model again")
        windows = replace(read_windows(call, x, tuple(kernel)), ceil=bool(call.get("ceil_mode", 0)))
        if windows.ceil:  # a kernel that reaches past the end of the padding counts nothing there
            windows = replace(windows, kernel=_within(windows, x.shape[1:]))
        if call.get("auto_pad", "NOTSET").startswith("SAME"):
            counts = windows.outputs(x.shape[1:])
            covered = [(n - 1) * s + k for n, k, s in zip(counts, kernel, windows.strides, strict=True)]
            if any(d != 1 for d in windows.dilations) or any(map(int.__lt__, covered, x.shape[1:])):
                # the specification and onnxruntime disagree on what this makes
                raise Refusal("auto_pad on a dilated pooling, or one with gaps, is ambiguous", "Give pads instead")
        return windows

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        self.windows.check(x)
        for taps, size in zip(self.windows.taps(x[1:]), x[1:], strict=True):
            inside = bool(((taps >= 0) & (taps < size)).any(axis=1).all())
            hold(inside, "a window lies in the padding alone", "Use pads smaller than the kernel")

    def scratch(self, *inputs: Shape) -> int:
        return self.windows.padding(inputs[0])

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return (shape[0], *self.windows.outputs(shape[1:]))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call)


def _within(windows: Windows, sizes: Shape) -> tuple[int, ...]:
    """The kernel, cut off where its first and only window ends behind the padding."""
    axes = zip(windows.kernel, windows.strides, windows.dilations, windows.pads, sizes, strict=True)
    return tuple(
        low + size + high if d == 1 and 0 < k - (low + size + high) < s else k for k, s, d, (low, high), size in axes
    )


@onnx_operator(inputs=1, **ATTRIBUTES, ceil_mode="flag", storage_order="flag")
@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    behaviour = "square root of the most windows that cover one pixel"
    exact = zero_at_zero = True
    picks = 1

    def choices(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor], absent: float) -> Tensor:
        x = self.windows.padded(inputs[0], absent)
        axes = zip(self.windows.kernel, self.windows.strides, self.windows.dilations, strict=True)
        for axis, (k, s, d) in enumerate(axes, start=2):
            x = x.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
        return x.flatten(2 + len(self.windows.kernel))

    @classmethod
    def read(cls, call: Call) -> Operator:
        return cls(cls.windows_of(call))  # storage_order concerns the second output alone

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        windows = self.windows
        functional = torch.nn.functional
        pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(windows.kernel) - 1]
        return pool(
            windows.padded(inputs[0], -math.inf),
            windows.kernel,
            stride=windows.strides,
            dilation=windows.dilations,
        )

    def lipschitz(self, *inputs: Shape) -> Rule:
        # |max_j a_j - max_j b_j|^2 <= sum_j |a_j - b_j|^2 over the window, and each pixel is in so many windows.
        return Slope(sqrt_up(prod(self.windows.covers(inputs[0][1:]))))

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("MaxPool", inputs, output, **self.windows.written(shapes[0][1:]))


@onnx_operator(inputs=1, **ATTRIBUTES, ceil_mode="flag", count_include_pad="flag")
@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """``include_pad``: the divisor counts the padding inside the window (but nothing past the padded input)."""

    behaviour = "spectral norm, as the product of the axes' norms (count_include_pad=0 can exceed 1)"
    linear = averages = zero_at_zero = True
    include_pad: bool

    @classmethod
    def read(cls, call: Call) -> Operator:
        pool = cls(cls.windows_of(call), bool(call.get("count_include_pad", 0)))
        return pool.as_mean(call.activation().shape) or pool

    def as_mean(self, x: Shape) -> Operator | None:
        """The mean over axes that it is of a sample of shape ``x``; None: no such mean.

        Along such an axis there is one window, which holds all entries and divides by their number; along the others
        there is nothing to add.
        """
        windows, sizes = self.windows, x[1:]
        if any(d != 1 for d in windows.dilations):
            return None
        axes = zip(sizes, self.divisors(sizes), windows.kernel, windows.strides, windows.pads, strict=True)
        whole, idle = [], True
        for axis, (size, divisors, k, stride, pads) in enumerate(axes, 1):
            if divisors == [size] and k - pads[0] >= size:
                whole.append(axis)
            elif (k, stride, pads) != (1, 1, (0, 0)):
                idle = False
        if not idle or not whole:
            return None
        return GlobalAveragePool() if len(whole) == len(sizes) else ReduceMean(tuple(whole), keepdims=True)

    def check(self, *inputs: Shape) -> None:
        super().check(*inputs)
        plain = all(d == 1 for d in self.windows.dilations)
        hold(plain, "a dilated average pooling is not supported", "Use a Conv with constant weights")

    def divisors(self, sizes: tuple[int, ...]) -> list[list[int]]:
        """Per axis what each window's sum is divided by; the pooling divides by their product.

        In plain integers, since it runs with the module, where compilers take NumPy's for values of the input.
        """
        windows, divisors = self.windows, []
        axes = zip(sizes, windows.outputs(sizes), windows.kernel, windows.strides, windows.pads, strict=True)
        for size, count, k, stride, (low, high) in axes:
            first, last = (-low, size + high) if self.include_pad else (0, size)
            starts = range(-low, count * stride - low, stride)
            divisors.append([min(start + k, last) - max(start, first) for start in starts])
        return divisors

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        windows = self.windows
        if x.dtype == torch.bfloat16:  # torch has none in three axes, and this rounds once
            return self.run([x.float()], arrays).to(x.dtype)
        functional = torch.nn.functional
        pool = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(windows.kernel) - 1]
        y: Tensor = pool(windows.padded(x, 0.0), windows.kernel, stride=windows.strides)
        for axis, (divisor, k) in enumerate(zip(self.divisors(tuple(x.shape[2:])), windows.kernel, strict=True)):
            if any(entries != k for entries in divisor):
                factor = torch.tensor([k / entries for entries in divisor], dtype=y.dtype, device=y.device)
                y = y * factor.reshape(-1, *[1] * (len(windows.kernel) - 1 - axis))
        return y

    def lipschitz(self, *inputs: Shape) -> Rule:
        sizes = inputs[0][1:]
        axes = zip(self.windows.taps(sizes), self.divisors(sizes), sizes, strict=True)
        return Slope(up(prod(averaging_norm(taps, np.array(divisor), size) for taps, divisor, size in axes)))

    def convolution(self, *inputs: Shape) -> Convolution | None:
        """Channel by channel, where all windows have one divisor."""
        (channels, *sizes), windows = inputs[0], self.windows
        divisors = [set(entries) for entries in self.divisors(tuple(sizes))]
        if any(len(entries) > 1 for entries in divisors):
            return None
        share = 1 / prod(entry for entries in divisors for entry in entries)
        weight = np.full((channels, 1, *windows.kernel), share)
        return Convolution(weight, tuple(sizes), windows.strides, windows.pads, windows.dilations, channels)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        sizes, kernel = shapes[0][1:], self.windows.kernel
        cut = any(entry != k for entries, k in zip(self.divisors(sizes), kernel, strict=True) for entry in entries)
        if self.include_pad and cut:
            raise Unwritable("AveragePool with a window that ends behind its padding can't be written")
        pads = int(self.include_pad)
        pen.node("AveragePool", inputs, output, count_include_pad=pads, **self.windows.written(sizes))


@onnx_operator()
@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Operator):
    behaviour = "1/sqrt(number of pixels)"
    linear = averages = zero_at_zero = True
    written_as_is = True

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls()

    def check(self, *inputs: Shape) -> None:
        hold(len(inputs[0]) >= 2, "its input has no spatial axes", "Remove the layer")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return (shape[0], *[1] * (len(shape) - 1))

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(up(1 / math.sqrt(prod(inputs[0][1:]))))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call)

    def linear_part(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
