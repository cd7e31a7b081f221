"""Operators that pick, repeat or join entries: Gather, Slice, Pad, Concat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph import rules
from radii.graph.bounds import multiplicity, sqrt_up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.lengths import split_lengths
from radii.graph.operator import Operator, Shape
from radii.graph.ops.layout import KEEP_BATCH, Identity, check_axes, sample_axis
from radii.graph.ops.registry import MANY, onnx_operator
from radii.graph.pen import Pen, Unwritable
from radii.graph.views import View, axes_shifted, axis_shifted, behind, shifted

if TYPE_CHECKING:
    from torch import Tensor

END = 2**31 - 1  # from here on a slice's end means "to the end"


@onnx_operator(inputs=2, axis="int")
@dataclass(frozen=True, eq=False)
class Gather(Operator):
    """Entries at constant ``indices`` along ``axis`` of one sample."""

    behaviour = "square root of how often the most used index occurs"
    array_kinds = MappingProxyType({"indices": "i"})
    exact = copies = linear = True
    indices: np.ndarray  # int64, none negative, any shape
    axis: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, indices = call.activation(), call.constant(1)
        if indices is None or indices.dtype.kind not in "iu":
            raise Refusal("the indices must be constant integers", "Use constant indices")
        axis = sample_axis(call.get("axis", 0), x.rank)
        size = x.shape[axis]
        if not indices.size or indices.min() < -size or indices.max() >= size:
            raise Refusal(f"an index is outside an axis of size {size}", "Export the model again")
        call.limits.check_tensor((prod(x.shape) // size, indices.size))
        return cls(np.where(indices < 0, indices + size, indices).astype(np.int64), axis)

    def check(self, *inputs: Shape) -> None:
        check_axes((self.axis,), inputs[0])
        size = inputs[0][self.axis]
        inside = bool(self.indices.min() >= 0 and self.indices.max() < size)
        hold(inside, f"an index is outside an axis of size {size}")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        indices = arrays["indices"]
        picked = x.index_select(self.axis + 1, indices.reshape(-1))
        return picked.reshape(*x.shape[: self.axis + 1], *indices.shape, *x.shape[self.axis + 2 :])

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        return (*shape[: self.axis], *self.indices.shape, *shape[self.axis + 1 :])

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        return rules.Slope(sqrt_up(multiplicity(self.indices, inputs[0][self.axis])))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, 0)


@onnx_operator(inputs=5, starts="ints", ends="ints", axes="ints")
@dataclass(frozen=True, eq=False)
class Slice(Operator):
    """``ranges`` (start, stop, step) along ``axes`` of one sample. Attributes up to opset 9, inputs since."""

    behaviour = "1"
    exact = copies = linear = True
    axes: tuple[int, ...]
    ranges: tuple[tuple[int, int, int], ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x = call.activation()
        starts, ends = call.integers(1, "starts") or (), call.integers(2, "ends") or ()
        axes = call.integers(3, "axes") or tuple(range(len(starts)))
        steps = call.integers(4, "steps") or (1,) * len(starts)
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise Refusal("starts, ends, axes and steps do not fit together", "Export the model again")
        axes = tuple(axis + x.rank if axis < 0 else axis for axis in axes)
        given = dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))
        if len(given) != len(axes) or not all(0 <= axis < x.rank for axis in axes):
            raise Refusal("an axis is out of range, or named twice", "Export the model again")
        start, end, step = given.pop(0, (0, END, 1))
        if (start, step) != (0, 1) or end < END:
            raise Refusal("it picks samples of the batch", KEEP_BATCH)
        ranges = {axis - 1: _range(*given[axis], x.shape[axis - 1]) for axis in sorted(given)}
        kept = {axis: r for axis, r in ranges.items() if r != (0, x.shape[axis], 1)}
        return cls(tuple(kept), tuple(kept.values())) if kept else Identity()

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        check_axes(self.axes, x)
        hold(len(self.axes) == len(self.ranges), "it does not have one range an axis")
        for axis, (start, stop, step) in zip(self.axes, self.ranges, strict=True):
            size = x[axis]
            hold(step != 0 and abs(step) < END, "a step is zero, or huge")
            hold(0 <= start < size and -1 <= stop <= size, f"a range leaves an axis of size {size}, or is empty")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        for axis, (start, stop, step) in zip(self.axes, self.ranges, strict=True):
            if step > 0:
                x = x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)]
            else:
                x = x.index_select(axis + 1, torch.arange(start, stop, step, device=x.device))
        return x

    def shape(self, *inputs: Shape) -> Shape:
        sizes = list(inputs[0])
        for axis, bounds in zip(self.axes, self.ranges, strict=True):
            sizes[axis] = len(range(*bounds))
        return tuple(sizes)

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        return rules.Slope(1.0)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axes_shifted(call, 3, count=len(call.integers(1, "starts") or ()))


def _range(start: int, end: int, step: int, size: int) -> tuple[int, int, int]:
    """As Python has it, but that a start before the first entry is the first, for negative steps too."""
    return slice(max(start, -size), end, step).indices(size)


@onnx_operator(inputs=2, axis="int", split="ints", num_outputs="int")
@dataclass(frozen=True, eq=False)
class Split(Operator):
    """Read as one Slice for every output that is used. Lengths as an attribute up to opset 12, an input since."""

    is_node, many_outputs = False, True
    behaviour = "1 (read as a Slice for each output)"

    @classmethod
    def read(cls, call: Call) -> Operator:
        x = call.activation()
        axis = sample_axis(call.get("axis", 0), x.rank)
        size, lengths = x.shape[axis], split_lengths(call, x.shape[axis])
        start = sum(lengths[: call.output])
        stop = start + lengths[call.output]
        return Identity() if (start, stop) == (0, size) else Slice((axis,), ((start, stop, 1),))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, 0)


@onnx_operator(inputs=4, mode="string", pads="ints", value="float")
@dataclass(frozen=True, eq=False)
class Pad(Operator):
    """``pads`` (before, after) per axis of one sample. Attributes up to opset 10, inputs since."""

    behaviour = "1 with a constant; else the square root of how often the most used pixel occurs"
    exact = linear = True
    mode: str
    pads: tuple[tuple[int, int], ...]
    value: float

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, mode = call.activation(), call.get("mode", "constant")
        flat = call.integers(1, "pads") or ()
        axes = call.integers(3, "axes")
        if axes is None:
            axes = tuple(range(x.rank))
        if len(flat) != 2 * len(axes):
            raise Refusal("pads do not fit the axes", "Export the model again")
        given: dict[int, tuple[int, int]] = {}
        for axis, pair in zip(axes, zip(flat[: len(axes)], flat[len(axes) :], strict=True), strict=True):
            given[axis + x.rank if axis < 0 else axis] = pair
        if len(given) != len(axes) or not all(0 <= axis < x.rank for axis in given):
            raise Refusal("an axis is out of range, or named twice", "Export the model again")
        if any(given.pop(0, (0, 0))):
            raise Refusal("it pads the batch", KEEP_BATCH)
        pads = tuple(given.get(axis, (0, 0)) for axis in range(1, x.rank))
        value = call.constant(2)
        call.only_one(2, "value")
        if value is not None and (value.size != 1 or value.dtype.kind != "f"):
            raise Refusal("the padding value must be one number", "Export the model again")
        number = call.get("value", 0.0) if value is None else float(value.reshape(()))
        operator = cls(mode, pads, number)
        operator.check(x.shape)
        return operator if any(low or high for low, high in pads) else Identity()

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        known = self.mode in ("constant", "reflect", "edge", "wrap")
        hold(known, "the mode of Pad is unknown", "Use constant, reflect, edge or wrap")
        hold(len(self.pads) == len(x), "it does not have a pair of pads for every axis of a sample")
        for size, (low, high) in zip(x, self.pads, strict=True):
            cuts = min(low, high) < 0
            hold(not cuts or self.mode == "constant", "a negative pad needs the mode constant", "Crop with Slice")
            hold(size + min(low, 0) + min(high, 0) >= 1, "it cuts everything off")
            longest = size - (self.mode == "reflect")
            hold(
                max(low, high) <= longest or self.mode not in ("reflect", "wrap"),
                f"a pad is longer than the input, whose size is {size}",
                "Use a smaller pad",
            )

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        if self.mode == "constant":
            return torch.nn.functional.pad(
                x, [amount for pair in reversed(self.pads) for amount in pair], value=self.value
            )
        for axis, (size, index) in enumerate(zip(x.shape[1:], self.sources(tuple(x.shape[1:])), strict=True)):
            if len(index) != size:
                x = x.index_select(axis + 1, torch.from_numpy(index).to(x.device))
        return x

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return replace(self, value=abs(self.value)).run(inputs, arrays)

    def sources(self, sizes: Shape) -> list[np.ndarray]:
        """Per axis, the entry that each entry of the output copies (for all modes but constant)."""
        return [self.source(np.arange(-low, n + high), n) for n, (low, high) in zip(sizes, self.pads, strict=True)]

    def source(self, position: np.ndarray, size: int) -> np.ndarray:
        """The entry that stands at each position (not by `numpy.pad`, which Dynamo does not trace)."""
        if self.mode == "edge":
            return np.asarray(np.clip(position, 0, size - 1))
        if self.mode == "wrap":
            return np.asarray(np.remainder(position, size))
        return np.asarray(size - 1 - np.abs(size - 1 - np.abs(position)))

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(size + low + high for size, (low, high) in zip(inputs[0], self.pads, strict=True))

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        if self.mode == "constant":
            return rules.Slope(1.0)
        copies = (multiplicity(index, size) for index, size in zip(self.sources(inputs[0]), inputs[0], strict=True))
        return rules.Slope(sqrt_up(prod(copies)))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axes_shifted(call, 3)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        if self.mode != "constant":
            raise Unwritable(f"Pad in mode {self.mode} can't be written")
        low, high = ([0, *(pair[side] for pair in self.pads)] for side in (0, 1))
        constants = pen.given(np.array(low + high), np.array(self.value, np.float32))
        pen.node("Pad", [*inputs, *constants], output)


@onnx_operator(inputs=MANY, axis="int")
@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """Activations side by side along ``axis`` of one sample; the reader makes activations of constants."""

    lifts_constants = True
    activations = (2, MANY)
    behaviour = "square root of the sum of the squares of the inputs' constants"
    exact = copies = True
    takes_list = True
    axis: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        activations = call.activations()
        axis = sample_axis(call.get("axis", 0), activations[0].rank)
        return cls(axis) if len(activations) > 1 else Identity()

    def check(self, *inputs: Shape) -> None:
        check_axes((self.axis,), inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.cat(list(inputs), dim=self.axis + 1)

    def shape(self, *inputs: Shape) -> Shape:
        others = {shape[: self.axis] + shape[self.axis + 1 :] for shape in inputs}
        if len(others) != 1 or len({len(shape) for shape in inputs}) != 1:
            raise Refusal("the shapes to be joined differ", "Export the model again")
        first = inputs[0]
        joined = sum(shape[self.axis] for shape in inputs)
        return (*first[: self.axis], joined, *first[self.axis + 1 :])

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        return rules.Concat()

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        inputs = [value[None] if isinstance(value, np.ndarray) else value for value in call.inputs]
        return shifted(call, inputs=inputs, axis=behind(call.get("axis", 0)))

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("Concat", inputs, output, axis=self.axis + 1)
