"""Operators that repeat: Expand, Tile, and a constant repeated for every sample of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from radii.graph.affine import Affine
from radii.graph.bounds import sqrt_up
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape, absolute
from radii.graph.ops.layout import KEEP_BATCH, Identity
from radii.graph.ops.registry import graph_operator, onnx_operator
from radii.graph.order import Given, Known, Shared
from radii.graph.rules import Rule, Slope
from radii.graph.views import View, broadcast_shifted, shifted

if TYPE_CHECKING:
    from torch import Tensor


@graph_operator
@dataclass(frozen=True, eq=False)
class Parameter(Operator):
    """``value`` for every sample, whatever the input: a class token, a position embedding joined to an activation."""

    behaviour = "0"
    finite_where_used = True
    exact = True
    value: np.ndarray  # of one sample

    def check(self, *inputs: Shape) -> None:
        """Any value will do."""

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return arrays["value"].expand(inputs[0].shape[0], *arrays["value"].shape)

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return self.run(inputs, absolute(arrays))

    def shape(self, *inputs: Shape) -> Shape:
        return self.value.shape

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(0.0)


def is_batch(size: object) -> bool:
    """Whether a size is the batch itself."""
    return isinstance(size, Affine) and (size.slope, size.offset) == (1, 0)


def repeated(call: Call) -> Parameter | None:
    """A constant that an Expand, Tile or ConstantOfShape repeats along a batch axis in front; None: something else."""
    sizes = call.input(0 if call.operator == "ConstantOfShape" else 1)
    if call.operator not in ("Expand", "Tile", "ConstantOfShape") or not isinstance(sizes, np.ndarray):
        return None
    if sizes.dtype != object or sizes.ndim != 1 or not is_batch(sizes[0]):
        return None
    if any(isinstance(size, Affine) for size in sizes[1:]):
        raise Refusal("the batch enters two sizes of a constant", KEEP_BATCH)
    rest = tuple(int(size) for size in sizes[1:])
    if any(size < 1 for size in rest):
        raise Refusal("a constant's shape has an impossible size", "Export the model again")
    value = call.get("value", np.zeros(1, np.float32)) if call.operator == "ConstantOfShape" else call.constant(0)
    if value is None or value.dtype.kind not in "fb":
        raise Refusal("a constant of every sample must be floats or truth values", "Export the model in float32")
    if value.dtype.kind == "b":
        value = value.astype(np.float32)  # an attention mask: truth values of activations are 0 and 1
    if call.operator == "Tile" and value.ndim != len(sizes):
        raise Refusal("the repeats do not fit the axes", "Export the model again")
    if call.operator == "ConstantOfShape":
        value = value.reshape(())
    elif value.ndim == len(sizes) and value.shape[0] == 1:
        value = value[0]
    elif value.ndim >= len(sizes):
        raise Refusal("a constant has a batch axis of its own", "Give constants the shape of one sample")
    if call.operator == "Tile":
        call.limits.check_made([a * b for a, b in zip(value.shape, rest, strict=True)], value.size)
        return Parameter(np.tile(value, rest))
    shape = np.broadcast_shapes(value.shape, rest)
    call.limits.check_made(shape, value.size)
    return Parameter(np.broadcast_to(value, shape).copy())


def _sizes(call: Call, x: Activation, what: str) -> tuple[int, ...]:
    """Sizes or repeats of the sample's axes; the batch's must leave the batch as it is."""
    given = call.constant(1)
    if given is None or given.ndim != 1 or given.dtype.kind not in "iuO" or len(given) > x.rank:
        raise Refusal(f"{what} must be a constant list of integers, at most one an axis", "Export with fixed sizes")
    full = [1] * (x.rank - len(given)) + list(given)
    head, rest = full[0], full[1:]
    if not (is_batch(head) and what == "the shape") and (isinstance(head, Affine) or head != 1):
        raise Refusal("it repeats samples of the batch", KEEP_BATCH)
    if any(isinstance(size, Affine) or size < 1 for size in rest):
        raise Refusal(f"{what} must hold positive integers that do not depend on the batch size", KEEP_BATCH)
    return tuple(int(size) for size in rest)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Expand(Operator):
    """Broadcasts one sample to (at least) ``target``."""

    behaviour = "square root of the number of copies"
    exact = copies = linear = True
    target: tuple[int, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x = call.activation()
        target = np.broadcast_shapes(x.shape, _sizes(call, x, "the shape"))
        return Identity() if target == x.shape else cls(target)

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        hold(np.broadcast_shapes(x, self.target) == self.target and len(self.target) == len(x), "it adds an axis")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return x.expand(x.shape[0], *self.target)

    def shape(self, *inputs: Shape) -> Shape:
        return np.broadcast_shapes(inputs[0], self.target)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(sqrt_up(prod(self.target) // prod(inputs[0])))

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        same = isinstance(given.value, Shared) or prod(self.shape(given.shape)) == prod(given.shape)
        return given.value if same else None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call, least=len(call.integers(1, "shape") or ()))


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Tile(Operator):
    """One sample ``repeats`` times along its axes."""

    behaviour = "square root of the number of copies"
    exact = copies = linear = True
    repeats: tuple[int, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, given = call.activation(), call.constant(1)
        if given is None or given.shape != (x.rank,):
            raise Refusal("the repeats must be a constant list of integers, one an axis", "Export with fixed sizes")
        repeats = _sizes(call, x, "the repeats")
        return Identity() if prod(repeats) == 1 else cls(repeats)

    def check(self, *inputs: Shape) -> None:
        one_an_axis = len(self.repeats) == len(inputs[0])
        hold(one_an_axis and all(times >= 1 for times in self.repeats), "the repeats are not one an axis, 1 or more")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return inputs[0].repeat(1, *self.repeats)

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(size * times for size, times in zip(inputs[0], self.repeats, strict=True))

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(sqrt_up(prod(self.repeats)))

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        same = isinstance(given.value, Shared) or prod(self.shape(given.shape)) == prod(given.shape)
        return given.value if same else None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        inputs = list(call.inputs)
        inputs[1] = np.array([1, *(call.integers(1, "repeats") or ())])
        return shifted(call, inputs=inputs)
