"""Sums of products of integers, exact on every machine, and rounded to float32 once, as onnxruntime's are.

A sum of integers in float32 is exact in any order while the absolute values of its terms add up to less than 2^24, and
one in float64 below 2^53. On a GPU a convolution may be computed by a transform with fractions: there all is float64,
whose error is far below the half that rounding takes off. See docs/quantised.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from radii.float32 import LARGEST, LEAST_NORMAL
from radii.graph.errors import hold
from radii.graph.operator import Shape
from radii.graph.ops.conv import Conv, convolved
from radii.graph.ops.linear import Linear
from radii.graph.ops.pool import AveragePool
from radii.graph.ops.quantised import BYTE, LEAST, MOST, Stepped, check_range, check_shift, stepped
from radii.graph.ops.registry import graph_operator
from radii.graph.ops.windows import Windows

if TYPE_CHECKING:
    from torch import Tensor

NARROW, WIDE = 2**24, 2**53  # every integer below is a float32, a float64


def largest_sum(weight: np.ndarray, bias: np.ndarray | None, reach: int) -> float:
    """The most that the absolute values of a sum's terms add up to, if each factor is ``reach`` at most."""
    sums = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(1) * reach
    return float((sums if bias is None else sums + np.abs(bias.astype(np.float64))).max())


def exact(x: Tensor, zero_point: int, narrow: bool) -> Tensor:
    """Steps without their zero point, of the type in which they are summed."""
    narrow = narrow and x.is_cpu and x.dtype != torch.float64
    x = x.to(torch.float32 if narrow else torch.float64)
    return x - zero_point if zero_point else x


@dataclass(frozen=True, eq=False)
class IntegerSum(Stepped):
    """Sums of products of steps, without their zero point, with whole weights."""

    weight: np.ndarray  # (outputs, ...), whole numbers
    bias: np.ndarray | None  # (outputs,)
    zero_point: int
    narrow: bool  # steps are of 8 bits, and float32 holds the sums
    array_kinds: ClassVar = {"bias": "i"}

    def check(self, *inputs: Shape) -> None:
        check_range(LEAST, MOST, self.zero_point)
        hold(bool((self.weight == np.rint(self.weight)).all()), "a weight is no whole number")
        hold(
            self.bias is None or self.bias.shape == self.weight.shape[:1], "the bias does not have one entry an output"
        )
        hold(self.bias is None or bool((np.abs(self.bias) <= 2**31).all()), "the bias is not of 32 bits")
        most = largest_sum(self.weight, self.bias, BYTE if self.narrow else MOST - LEAST)
        hold(most < (NARROW if self.narrow else WIDE), "its sums are too large")

    def rounded(self, totals: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The sums with the bias; ``totals`` are off by less than a half."""
        if totals.dtype == torch.float64:
            totals = totals.round()
        return (totals if bias is None else totals + bias).to(dtype)


@graph_operator
@dataclass(frozen=True, eq=False)
class IntegerConv(IntegerSum):
    """A convolution; ``weight`` is (out, in/groups, *kernel). The padding is the zero point."""

    windows: Windows
    groups: int

    @property
    def name(self) -> str:
        return "Conv"

    @property
    def plain(self) -> Conv:
        """The same of real numbers, without bias."""
        return Conv(self.weight, None, self.windows, self.groups)

    def check(self, *inputs: Shape) -> None:
        self.plain.check(*inputs)
        super().check(*inputs)

    def scratch(self, *inputs: Shape) -> int:
        return 2 * self.windows.padding(inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        x = exact(inputs[0], self.zero_point, self.narrow)
        totals = convolved(x, arrays["weight"].to(x.dtype), None, self.windows, self.groups)
        bias = arrays["bias"].reshape(-1, *[1] * (x.ndim - 2)) if "bias" in arrays else None
        return self.rounded(totals, bias, inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return self.plain.shape(*inputs)

    def multiply_adds(self, *inputs: Shape) -> int:
        return self.plain.multiply_adds(*inputs)


@graph_operator
@dataclass(frozen=True, eq=False)
class IntegerLinear(IntegerSum):
    """A matrix (out, in) on the last axis."""

    @property
    def name(self) -> str:
        return "MatMul"

    def check(self, *inputs: Shape) -> None:
        Linear(self.weight).check(*inputs)
        super().check(*inputs)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        x = exact(inputs[0], self.zero_point, self.narrow)
        totals = torch.nn.functional.linear(x, arrays["weight"].to(x.dtype))
        return self.rounded(totals, arrays.get("bias"), inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return Linear(self.weight).shape(*inputs)

    def multiply_adds(self, *inputs: Shape) -> int:
        return Linear(self.weight).multiply_adds(*inputs)


@graph_operator
@dataclass(frozen=True, eq=False)
class PixelSum(Stepped):
    """The sum of each channel's steps, without their zero point."""

    zero_point: int

    @property
    def name(self) -> str:
        return "GlobalAveragePool"

    def check(self, *inputs: Shape) -> None:
        check_range(LEAST, MOST, self.zero_point)
        hold(len(inputs[0]) >= 2, "its input has no spatial axes")
        hold(prod(inputs[0][1:]) < WIDE / (MOST - LEAST), "its sums are too large")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        x = exact(inputs[0], self.zero_point, narrow=False)
        return x.sum(dim=tuple(range(2, x.ndim)), keepdim=True).to(inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], *[1] * (len(inputs[0]) - 1))


@graph_operator
@dataclass(frozen=True, eq=False)
class QuantizedAveragePool(Stepped):
    """The mean of each window in float32, ``clip(round(mean / scales[1] + (zero_points[1] + shift)) - shift)``.

    The zero point is added before halves are rounded, so an odd one has them go the other way than QuantizeLinear does.
    """

    scales: tuple[float, float]  # of the input, of the output
    zero_points: tuple[int, int]
    shift: int
    low: int
    high: int
    windows: Windows
    include_pad: bool

    @property
    def name(self) -> str:
        return "AveragePool"

    @property
    def plain(self) -> AveragePool:
        """The same of real numbers."""
        return AveragePool(self.windows, self.include_pad)

    def check(self, *inputs: Shape) -> None:
        self.plain.check(*inputs)
        hold(len(self.windows.kernel) <= 2, "its windows have three axes")
        hold(min(self.scales) >= LEAST_NORMAL and max(self.scales) <= LARGEST, "its scales are not those of float32")
        check_range(LEAST, MOST, self.zero_points[0])
        check_range(self.low, self.high, self.zero_points[1])
        check_shift(self.shift)

    def scratch(self, *inputs: Shape) -> int:
        return self.plain.scratch(*inputs)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        x = (inputs[0].float() - self.zero_points[0]) * self.scales[0]
        counts = [
            torch.tensor(axis, dtype=x.dtype, device=x.device) for axis in self.plain.divisors(tuple(x.shape[2:]))
        ]
        x = self.windows.padded(x, 0.0)
        sums = torch.nn.functional.avg_pool2d(
            x.reshape(*x.shape[:2], *[1] * (4 - x.ndim), *x.shape[2:]),
            (1, *self.windows.kernel)[-2:],
            stride=(1, *self.windows.strides)[-2:],
            divisor_override=1,
        ).reshape(*x.shape[:2], *(len(axis) for axis in counts))
        mean = sums / (counts[0] if len(counts) == 1 else counts[0][:, None] * counts[1])
        total = mean / self.scales[1] + (self.zero_points[1] + self.shift)
        return stepped(total, -self.shift, self.low, self.high).to(inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return self.plain.shape(*inputs)
