"""Operators that only move entries or rename axes. The batch stays where it is: axis 0, unmixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from radii.graph.affine import BATCH, Affine
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.folding import fold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import graph_operator, onnx_operator
from radii.graph.order import Given, Known
from radii.graph.pen import Pen
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, behind, broadcast_shifted, shifted

if TYPE_CHECKING:
    from torch import Tensor

KEEP_BATCH = "Keep the batch as the first axis, and out of the operation"


def sample_axes(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes of a value of ``rank`` as sorted axes of one sample; `Refusal` for the batch axis."""
    positive = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if len(set(positive)) != len(positive) or not all(0 <= axis < rank for axis in positive):
        raise Refusal("an axis is out of range, or named twice", "Export the model again")
    if 0 in positive:
        raise Refusal("it works along the batch axis", KEEP_BATCH)
    return tuple(axis - 1 for axis in positive)


def sample_axis(axis: int, rank: int) -> int:
    """The same for a single axis."""
    return sample_axes((axis,), rank)[0]


def check_axes(axes: Sequence[int], x: Shape) -> None:
    """`Refusal` unless these are axes of a sample of shape ``x``, in order, each once."""
    hold(list(axes) == sorted(set(axes)), "the axes are not in order, each once")
    hold(all(0 <= axis < len(x) for axis in axes), "an axis is out of range")


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Identity(Operator):
    """Nothing at all: the reader drops it."""

    is_node = False
    behaviour = "1 (dropped at import)"
    entrywise = True
    exact = copies = keeps_order = linear = True
    is_idle = True

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls()

    def check(self, *inputs: Shape) -> None:
        """It has no fields."""

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return inputs[0]

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return given.value

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)

    def factors(self, shape: Shape) -> np.ndarray | None:
        return np.ones(shape[0])


@onnx_operator(inputs=3, ratio="float", seed="int")
@dataclass(frozen=True, eq=False)
class Dropout(Identity):
    @classmethod
    def read(cls, call: Call) -> Operator:
        training = call.constant(2)
        call.constant(1)  # the ratio, without effect in eval mode
        if training is not None and training.any():
            raise Refusal("it is in training mode, so the model is random", "Call model.eval() before exporting")
        return super().read(call)


@onnx_operator(to="int", saturate="flag")
@dataclass(frozen=True, eq=False)
class Cast(Identity):
    """Between float16, float32 and float64, which is nothing in real arithmetic. To a boolean: `Truth`."""

    behaviour = "1 (dropped at import); to a truth value it jumps: smoothing only"

    @classmethod
    def read(cls, call: Call) -> Operator:
        if call.get("to") == 9:  # TensorProto.BOOL
            call.activation()
            return Truth()
        if call.get("to") not in (1, 10, 11):  # TensorProto.FLOAT, FLOAT16, DOUBLE
            raise Refusal(
                "an activation is cast to a type that rounds, which is not a continuous function",
                "Export the model in float32",
            )
        return super().read(call)


@graph_operator
@dataclass(frozen=True, eq=False)
class Truth(Operator):
    """Whether a number is not 0; a truth value is a float, 0 or 1, like everything else."""

    behaviour = "unbounded: smoothing only"
    exact = True

    @property
    def name(self) -> str:
        return "Cast"

    def check(self, *inputs: Shape) -> None:
        """It has no fields."""

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return (x != 0).to(x.dtype)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("a cast to a truth value jumps", "Use smoothing")


@onnx_operator(inputs=2, allowzero="flag")
@dataclass(frozen=True, eq=False)
class Reshape(Operator):
    """``target`` is the shape of one sample."""

    behaviour = "1"
    exact = copies = keeps_order = linear = zero_at_zero = True
    target: tuple[int, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, target = call.activation(), call.constant(1)
        if target is None or target.ndim != 1 or target.dtype.kind not in "iuO":
            raise Refusal("the shape must be a constant list of integers", "Export with fixed sizes")
        return reshape(cls, x, _resolve(x, list(target), bool(call.get("allowzero", 0))))

    def check(self, *inputs: Shape) -> None:
        hold(all(size >= 1 for size in self.target), "a size is not positive")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return x.reshape(x.shape[0], *self.target)

    def shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.target):
            raise Refusal(
                f"a sample of shape {list(inputs[0])} can't become {list(self.target)}", "Export the model again"
            )
        return self.target

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return given.value

    @classmethod
    def relabelled(cls, call: Call) -> Shape | None:
        empty = np.broadcast_to(np.float32(0), call.activation().shape)  # a shape, and no memory
        made: Shape = fold(replace(call, inputs=(empty, *call.inputs[1:]))).shape
        return made

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("Reshape", [*inputs, pen.constant(np.array([0, *self.target]))], output)  # 0: as it is


def reshape(cls: type[Reshape], x: Activation, target: Shape) -> Operator:
    """The reshape of ``x``, or nothing where the shape stays."""
    return Identity() if target == x.shape else cls(target)


def _resolve(x: Activation, target: list[int | Affine], allowzero: bool) -> Shape:
    """A target of a Reshape, batch first, as the shape of one sample."""
    full: list[int | Affine] = [BATCH, *x.shape]
    if not allowzero:
        if any(isinstance(size, int | np.integer) and size == 0 for size in target[len(full) :]):
            raise Refusal("a size is copied from an axis that is not there", "Export the model again")
        target = [full[i] if _is(size, 0) else size for i, size in enumerate(target)]
    if not target:
        raise Refusal("the batch axis disappears", KEEP_BATCH)
    head, rest = target[0], target[1:]
    if any(isinstance(size, Affine) for size in rest):
        raise Refusal("the batch is moved from the first axis, or mixed with another", KEEP_BATCH)
    sizes = [int(size) for size in rest]  # type: ignore[arg-type]
    elements = prod(x.shape)
    if sizes.count(-1) + _is(head, -1) > 1 or any(size < -1 or size == 0 for size in sizes):
        raise Refusal("the shape has more than one free size, or an impossible one", "Export the model again")
    is_batch = isinstance(head, Affine) and (head.slope, head.offset) == (1, 0)
    if not (is_batch or _is(head, -1)):
        raise Refusal("the batch is moved from the first axis, or mixed with another", KEEP_BATCH)
    if -1 in sizes:
        known = -prod(sizes)
        if elements % known:
            raise Refusal(f"a sample of shape {list(x.shape)} does not fit the new shape", KEEP_BATCH)
        sizes[sizes.index(-1)] = elements // known
    if prod(sizes) != elements:
        raise Refusal(
            f"a sample of shape {list(x.shape)} is made {sizes}: samples of the batch are joined or cut", KEEP_BATCH
        )
    return tuple(sizes)


def _is(size: int | Affine, value: int) -> bool:
    return not isinstance(size, Affine) and size == value


@onnx_operator(axis="int")
@dataclass(frozen=True, eq=False)
class Flatten(Reshape):
    @classmethod
    def read(cls, call: Call) -> Operator:
        x, axis = call.activation(), call.get("axis", 1)
        axis = axis + x.rank if axis < 0 else axis
        if not 1 <= axis <= x.rank or prod(x.shape[: axis - 1]) != 1:
            raise Refusal("the batch is flattened together with another axis", "Flatten from axis 1")
        return reshape(cls, x, (prod(x.shape),))


@onnx_operator(inputs=2, axes="ints")
@dataclass(frozen=True, eq=False)
class Squeeze(Reshape):
    """Axes as an attribute up to opset 12, as an input since."""

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, given = call.activation(), call.integers(1, "axes")
        if given is None:
            raise Refusal("it drops every axis of size 1, the batch too where that is 1", "Name the axes")
        axes = sample_axes(given, x.rank)
        if any(x.shape[axis] != 1 for axis in axes):
            raise Refusal("it drops an axis that is not of size 1", "Export the model again")
        return reshape(cls, x, tuple(size for i, size in enumerate(x.shape) if i not in axes))


@onnx_operator(inputs=2, axes="ints")
@dataclass(frozen=True, eq=False)
class Unsqueeze(Reshape):
    """Axes as an attribute up to opset 12, as an input since."""

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, given = call.activation(), call.integers(1, "axes")
        if given is None:
            raise Refusal("its axes are missing", "Export the model again")
        target = list(x.shape)
        for axis in sample_axes(given, x.rank + len(given)):
            target.insert(axis, 1)
        return reshape(cls, x, tuple(target))


@onnx_operator(perm="ints")
@dataclass(frozen=True, eq=False)
class Transpose(Operator):
    """``permutation`` of the axes of one sample."""

    behaviour = "1"
    exact = copies = linear = zero_at_zero = True
    permutation: tuple[int, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        rank = call.activation().rank
        permutation = tuple(call.get("perm", range(rank)[::-1]))
        if permutation[:1] != (0,):
            raise Refusal("it moves the batch from the first axis", KEEP_BATCH)
        if permutation == tuple(range(rank)):
            return Identity()
        return cls(tuple(axis - 1 for axis in permutation[1:]))

    def check(self, *inputs: Shape) -> None:
        hold(sorted(self.permutation) == list(range(len(inputs[0]))), "it is no permutation of the axes")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return inputs[0].permute(0, *(axis + 1 for axis in self.permutation))

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(inputs[0][axis] for axis in self.permutation)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        moved = [axis for axis in self.permutation if given.shape[axis] != 1]
        return given.value if moved == sorted(moved) else None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        x = call.activation()
        return shifted(call, perm=(0, *map(behind, call.get("perm", range(len(x.shape))[::-1]))))

    @classmethod
    def relabelled(cls, call: Call) -> Shape | None:
        x = call.activation()
        order = call.get("perm", range(len(x.shape))[::-1])
        moved = [axis for axis in order if x.shape[axis] != 1]
        in_place = sorted(order) == list(range(len(x.shape))) and moved == sorted(moved)
        return tuple(x.shape[axis] for axis in order) if in_place else None

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("Transpose", inputs, output, perm=[0, *(axis + 1 for axis in self.permutation)])
