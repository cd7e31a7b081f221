"""Steps that stand for real numbers, as files of quantised networks have them: ``scale * (step - zero_point)``.

Steps are whole numbers of 8 or 16 bits, held as floats. What is computed between them in integers, and to which float
it is rounded when, is what onnxruntime's kernels do (docs/quantised.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from radii.graph.errors import hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.broadcast import broadcast, check_constant
from radii.graph.ops.layout import check_axes
from radii.graph.ops.registry import graph_operator
from radii.graph.rules import Rule, Unbounded

if TYPE_CHECKING:
    from torch import Tensor

LEAST, MOST = -(2**15), 2**16 - 1  # of any type of 8 or 16 bits
BYTE = 2**8 - 1  # the most that two of 8 bits differ by
JUMPS = Unbounded(
    "it computes in steps, so the network is not continuous: its outputs jump between inputs as near as one likes",
    "Use smoothing; a Lipschitz bound can be had of the network before it was quantised",
    speaks_for_all=True,
)


def check_range(low: int, high: int, zero_point: int) -> None:
    """`Refusal` unless steps from ``low`` to ``high`` are those of one of the types, and the zero point is one."""
    hold(LEAST <= low <= zero_point <= high <= MOST, "its steps are not those of 8 or 16 bits")


def check_shift(shift: int) -> None:
    """`Refusal` unless it is what makes steps unsigned."""
    hold(shift in (0, 2**7), "its steps are moved by other than half of the range of 8 bits")


def stepped(x: Tensor, zero_point: Tensor | int, low: int, high: int) -> Tensor:
    """``x`` rounded to whole numbers, halves to the even one, and moved by the zero point, within the range.

    It is written in place.
    """
    return x.round_().add_(zero_point).clamp_(low, high)


@dataclass(frozen=True, eq=False)
class Stepped(Operator):
    """A part of a quantised network: none of them is continuous."""

    behaviour = "unbounded: smoothing only"

    def lipschitz(self, *inputs: Shape) -> Rule:
        return JUMPS


@graph_operator
@dataclass(frozen=True, eq=False)
class QuantizeLinear(Stepped):
    """``clip(round(x / scale) + zero_point)``: halves are rounded to the even neighbour."""

    scale: np.ndarray  # to be broadcast with a sample
    zero_point: np.ndarray  # of the same shape
    low: int
    high: int
    array_kinds: ClassVar = {"zero_point": "i"}

    def check(self, *inputs: Shape) -> None:
        check_constant(self.scale, inputs[0])
        hold(self.scale.shape == self.zero_point.shape, "it has not one zero point for each scale")
        hold(bool((self.scale > 0).all()), "a scale is not positive")
        hold(np.broadcast_shapes(self.scale.shape, inputs[0]) == inputs[0], "its scales do not fit")
        check_range(self.low, self.high, int(self.zero_point.min()))
        check_range(self.low, self.high, int(self.zero_point.max()))

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return stepped(inputs[0] / arrays["scale"], arrays["zero_point"], self.low, self.high)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]


@graph_operator
@dataclass(frozen=True, eq=False)
class DequantizeLinear(Stepped):
    """``(x - zero_point) * scale``."""

    scale: np.ndarray  # to be broadcast with a sample
    zero_point: np.ndarray  # of the same shape
    array_kinds: ClassVar = {"zero_point": "i"}

    def check(self, *inputs: Shape) -> None:
        check_constant(self.scale, inputs[0])
        hold(self.scale.shape == self.zero_point.shape, "it has not one zero point for each scale")
        hold(np.broadcast_shapes(self.scale.shape, inputs[0]) == inputs[0], "its scales do not fit")
        check_range(LEAST, MOST, int(self.zero_point.min()))
        check_range(LEAST, MOST, int(self.zero_point.max()))

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return (inputs[0] - arrays["zero_point"]) * arrays["scale"]

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]


@graph_operator
@dataclass(frozen=True, eq=False)
class Requantize(Stepped):
    """``clip(round(x * factor) + zero_point)``: whole numbers, of which one is worth ``factor`` of a step."""

    factor: np.ndarray  # to be broadcast with a sample
    zero_point: int
    low: int
    high: int

    @property
    def name(self) -> str:
        return "QuantizeLinear"

    def check(self, *inputs: Shape) -> None:
        check_constant(self.factor, inputs[0])
        hold(np.broadcast_shapes(self.factor.shape, inputs[0]) == inputs[0], "its factors do not fit")
        hold(bool((self.factor > 0).all()), "a factor is not positive")
        check_range(self.low, self.high, self.zero_point)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return stepped(inputs[0] * arrays["factor"], self.zero_point, self.low, self.high)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]


@graph_operator
@dataclass(frozen=True, eq=False)
class QuantizedAdd(Stepped):
    """``clip(round(a * ratios[0] + (b * ratios[1] + offset)))`` for steps a and b.

    Products and sums are rounded to float32 together, once for each factor, as a fused multiply-add is: float64 holds
    the product of a step and a float32.
    """

    activations = (2, 2)
    ratios: tuple[float, float]
    offset: float
    shift: int  # what is added to steps before, and taken off behind
    low: int
    high: int

    @property
    def name(self) -> str:
        return "Add"

    def check(self, *inputs: Shape) -> None:
        a, b = inputs
        hold(a == b, "its operands are of two shapes")
        check_shift(self.shift)
        check_range(self.low, self.high, self.low)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        a, b = (x.double() + self.shift for x in inputs)
        moved = (b * self.ratios[1] + self.offset).float()
        total = (a * self.ratios[0] + moved.double()).float()
        return stepped(total, -self.shift, self.low, self.high).to(inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return broadcast(*inputs)


@graph_operator
@dataclass(frozen=True, eq=False)
class QuantizedMul(Stepped):
    """``clip(round((a - zero_points[0]) * (b - zero_points[1]) * factor + (zero_point + shift)) - shift)``."""

    activations = (2, 2)
    zero_points: tuple[int, int]
    factor: float
    zero_point: int
    shift: int
    low: int
    high: int

    @property
    def name(self) -> str:
        return "Mul"

    def check(self, *inputs: Shape) -> None:
        for zero_point in self.zero_points:
            check_range(LEAST, MOST, zero_point)
        check_shift(self.shift)
        check_range(self.low, self.high, self.zero_point)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        a, b = (x.double() - zero for x, zero in zip(inputs, self.zero_points, strict=True))
        scaled = (a * b * self.factor).float()
        total = (scaled.double() + (self.zero_point + self.shift)).float()
        return stepped(total, -self.shift, self.low, self.high).to(inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return broadcast(*inputs)


@graph_operator
@dataclass(frozen=True, eq=False)
class QuantizedSoftmax(Stepped):
    """Exponentials of steps by a table, over their sum: ``clip(round(exponential * most / sum) + zero_point)``.

    onnxruntime takes ``most``, the steps from 0 to 1, for a whole number, and cuts off what it is more.
    """

    table: np.ndarray  # (256,): of how many steps the largest is ahead, the last entry's is 0
    most: float
    zero_point: int
    low: int
    high: int
    axis: int
    trailing: bool  # over the axes behind it too

    @property
    def name(self) -> str:
        return "Softmax"

    def check(self, *inputs: Shape) -> None:
        check_axes((self.axis,), inputs[0])
        hold(self.table.shape == (BYTE + 1,) and bool((self.table >= 0).all()), "its table is not of exponentials")
        hold(0 <= self.most <= MOST, "it has not the steps of a probability")
        check_range(self.low, self.high, self.zero_point)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        x = x.float()
        steps = x.flatten(self.axis + 1) if self.trailing else x
        axis = -1 if self.trailing else self.axis + 1
        behind = (steps.amax(axis, keepdim=True) - steps).clamp(0, BYTE)
        exponentials = arrays["table"].float()[(BYTE - behind).long()]
        parts = exponentials.unbind(axis)
        total = parts[0]
        for part in parts[1:]:  # in onnxruntime's order, each sum rounded
            total = total + part
        made = stepped(exponentials * self.most / total.unsqueeze(axis), self.zero_point, self.low, self.high)
        return made.reshape(x.shape).to(inputs[0].dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]
