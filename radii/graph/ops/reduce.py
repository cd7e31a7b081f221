"""Reductions along axes of one sample: means, sums, norms, extremes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from radii.graph.bounds import sqrt_up, up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.layout import Identity, check_axes, sample_axes, sample_axis
from radii.graph.ops.registry import onnx_operator
from radii.graph.order import EVERYTHING, POSITIVE, Given, Known, Range, Shared
from radii.graph.pen import Pen
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, axes_shifted, axis_shifted, by_channel

if TYPE_CHECKING:
    from torch import Tensor

AXES = {"axes": "ints", "keepdims": "flag", "noop_with_empty_axes": "flag"}


@dataclass(frozen=True, eq=False)
class Reduction(Operator):
    """Over ``axes`` (of one sample: 0 is the first after the batch). An attribute in older opsets, an input since."""

    is_total: ClassVar[bool] = False  # whether it is the sum
    idempotent: ClassVar[bool] = True  # over no axes at all it is nothing
    axes: tuple[int, ...]
    keepdims: bool

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, given = call.activation(), call.integers(1, "axes")
        if not given and call.get("noop_with_empty_axes", 0) and cls.idempotent:
            return Identity()
        if not given:
            raise Refusal("it is taken over all axes, the batch included", "Name the axes of the reduction")
        return cls(sample_axes(given, x.rank), bool(call.get("keepdims", 1)))

    def check(self, *inputs: Shape) -> None:
        hold(bool(self.axes), "the reduction is over no axis")
        check_axes(self.axes, inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return self.reduced(inputs[0], tuple(axis + 1 for axis in self.axes))

    def choices(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor], absent: float) -> Tensor:
        (x,) = inputs
        kept = [axis for axis in range(x.ndim) if axis - 1 not in self.axes]
        groups = x.permute(*kept, *(axis + 1 for axis in self.axes)).flatten(len(kept))
        return groups.reshape(len(x), *self.shape(tuple(x.shape[1:])), -1)

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """The reduction of a batch over ``axes``."""
        raise NotImplementedError

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if self.keepdims:
            return tuple(1 if i in self.axes else size for i, size in enumerate(shape))
        return tuple(size for i, size in enumerate(shape) if i not in self.axes)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)  # of every group of entries it is a 1-Lipschitz function

    def count(self, shape: Shape) -> int:
        """How many entries make one."""
        return prod(shape[axis] for axis in self.axes)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        if prod(self.shape(given.shape)) != 1:
            return None
        made = self.of_all(given.value.range)
        return None if made is None else Shared(made, given.name if self.is_total else "")

    def of_all(self, entries: Range) -> Range | None:
        """The range of the one number that it makes of all entries; None: it may be undefined."""
        return None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axes_shifted(call, 1)


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceMean(Reduction):
    behaviour = "1/sqrt(number of entries averaged)"
    linear = averages = True

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.mean(dim=axes, keepdim=self.keepdims)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(up(1 / sqrt(self.count(inputs[0]))))

    def of_all(self, entries: Range) -> Range:
        return entries._replace(nonzero=entries.sign != 0)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        axes = pen.constant(np.array([axis + 1 for axis in self.axes]))
        pen.node("ReduceMean", [*inputs, axes], output, keepdims=int(self.keepdims))


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceSum(Reduction):
    behaviour = "square root of the number of entries added"
    is_total = True
    linear = True

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.sum(dim=axes, keepdim=self.keepdims)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(sqrt_up(self.count(inputs[0])))

    def of_all(self, entries: Range) -> Range:
        return POSITIVE if entries.sign > 0 else Range(0.0) if entries.low >= 0 else EVERYTHING


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceMax(Reduction):
    behaviour = "1"
    exact = True
    picks = 1

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.amax(dim=axes, keepdim=self.keepdims)

    def of_all(self, entries: Range) -> Range:
        return entries._replace(nonzero=entries.sign != 0)


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceMin(Reduction):
    behaviour = "1"
    exact = True
    picks = -1

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.amin(dim=axes, keepdim=self.keepdims)

    def of_all(self, entries: Range) -> Range:
        return entries._replace(nonzero=entries.sign != 0)


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceL1(Reduction):
    behaviour = "square root of the number of entries added"
    idempotent = False

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.abs().sum(dim=axes, keepdim=self.keepdims)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(sqrt_up(self.count(inputs[0])))

    def of_all(self, entries: Range) -> Range:
        return Range(0.0, nonzero=entries.sign != 0)


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceL2(Reduction):
    behaviour = "1"
    idempotent = False

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=self.keepdims)
        return norm

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0, loss=2.0**-500)  # squares of entries below 2^-537 are 0 in float64

    def of_all(self, entries: Range) -> Range:
        return Range(0.0, nonzero=entries.sign != 0)


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceLogSumExp(Reduction):
    behaviour = "1"
    idempotent = False

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return torch.logsumexp(x, dim=axes, keepdim=self.keepdims)

    def of_all(self, entries: Range) -> Range:
        return EVERYTHING


@onnx_operator(inputs=2, **AXES)
@dataclass(frozen=True, eq=False)
class ReduceSumSquare(Reduction):
    behaviour = "unbounded: smoothing only"
    idempotent = False

    def reduced(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        return x.square().sum(dim=axes, keepdim=self.keepdims)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("a sum of squares grows faster than its input", "Use smoothing, or ReduceL2")

    def of_all(self, entries: Range) -> Range:
        return Range(0.0, nonzero=entries.sign != 0)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Operator):
    is_node = False
    behaviour = "1"

    @classmethod
    def read(cls, call: Call) -> Operator:
        rank = call.activation().rank
        if rank < 3:
            raise Refusal("its input has no spatial axes", "Remove the layer")
        return ReduceMax(tuple(range(1, rank - 1)), keepdims=True)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call)


@onnx_operator(inputs=2, axis="int", k="int", largest="flag", sorted="flag")
@dataclass(frozen=True, eq=False)
class TopK(Operator):
    """The ``k`` largest (or smallest) entries along ``axis`` of one sample, in order."""

    behaviour = "1"
    exact = True
    k: int
    axis: int
    largest: bool

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, given = call.activation(), call.constant(1)
        call.only_one(1, "k")
        if given is not None and (given.size != 1 or given.dtype.kind not in "iu"):
            raise Refusal("k must be one constant integer", "Use a constant k")
        k = call.get("k", 0) if given is None else int(given.reshape(()))
        axis = sample_axis(call.get("axis", -1), x.rank)
        if not call.get("sorted", 1):
            raise Refusal("its order is left open (sorted=0)", "Use sorted=1")
        return cls(k, axis, bool(call.get("largest", 1)))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        check_axes((self.axis,), x)
        hold(1 <= self.k <= x[self.axis], f"k is {self.k}, on an axis of size {x[self.axis]}")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.topk(inputs[0], self.k, dim=self.axis + 1, largest=self.largest).values

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return (*shape[: self.axis], self.k, *shape[self.axis + 1 :])

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)  # sorting both of two vectors the same way brings them no further apart

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, -1)
