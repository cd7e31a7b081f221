"""Normalisation: by running statistics (an affine map), by the sample's own (layer norm), and softmax.
Formulas: docs/numerics.md 2.8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import slope, sqrt_up, up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.folding.registry import check_size, given
from radii.graph.operator import Operator, Shape
from radii.graph.ops.layout import check_axes, sample_axis
from radii.graph.ops.registry import onnx_operator
from radii.graph.order import UNIT, Given, Known, Ordered, Range
from radii.graph.pen import Pen, Unwritable
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, axis_shifted, by_channel

if TYPE_CHECKING:
    from torch import Tensor


@onnx_operator(inputs=5, epsilon="float", momentum="float", spatial="flag", training_mode="flag")
@dataclass(frozen=True, eq=False)
class BatchNormalization(Operator):
    """``scale * x + offset`` a channel, from the running statistics; folded into the layer before where it can."""

    behaviour = "folded into the layer before; alone max |gamma|/sqrt(var + epsilon)"
    linear = diagonal = True
    adds = "offset"
    scale: np.ndarray  # float64, (channels,)
    offset: np.ndarray

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        if call.get("training_mode", 0) or call.outputs > 1:
            raise Refusal(
                "it is in training mode, so samples of a batch change each other",
                "Call model.eval() before exporting",
            )
        if not call.get("spatial", 1):
            raise Refusal("statistics per pixel (spatial=0) are not supported", "Export at opset 9 or later")
        gamma, beta, mean, var = (call.weight(i).astype(np.float64) for i in range(1, 5))
        if len({array.shape for array in (gamma, beta, mean, var)}) != 1:
            raise Refusal("its statistics do not have one entry a channel", "Export the model again")
        spread = var + call.get("epsilon", 1e-5)
        if not np.all(spread > 0):
            raise Refusal("a variance plus epsilon is not positive", "Train again, or raise epsilon")
        scale = gamma / np.sqrt(spread)
        return cls(scale, beta - mean * scale)

    def check(self, *inputs: Shape) -> None:
        channels = inputs[0][:1]
        hold(self.scale.shape == self.offset.shape == channels != (), "its statistics do not have one entry a channel")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        column = (-1, *[1] * (x.ndim - 2))
        return x * arrays["scale"].reshape(column) + arrays["offset"].reshape(column)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return slope(up(float(np.max(np.abs(self.scale)))))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call, repeated=(1, 2, 3, 4))

    def factors(self, shape: Shape) -> np.ndarray | None:
        return self.scale

    def absorbable(self, shape: Shape) -> tuple[np.ndarray, np.ndarray] | None:
        return self.scale, self.offset

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        column = (-1, *[1] * (len(shapes[0]) - 1))
        scaled = pen.node("Mul", [*inputs, pen.constant(self.scale.reshape(column))], f"{output}s")
        pen.node("Add", [scaled, pen.constant(self.offset.reshape(column))], output)

    @classmethod
    def of_constants(cls, call: Call) -> np.ndarray | None:
        """In training mode it mixes samples; of a kernel it is how some networks standardise their weights."""
        if not call.get("training_mode", 0):
            return None
        value, scale, offset = (given(call, position) for position in range(3))
        channels = value.shape[1:2]
        hold(value.size > 0 and scale.shape == offset.shape == channels != (), "it has not one entry a channel")
        check_size(call, value.shape)
        axes, column = (0, *range(2, value.ndim)), (-1, *[1] * (value.ndim - 2))
        wide = value.astype(np.float64)
        centred = wide - wide.mean(axis=axes, keepdims=True)
        variance = np.mean(np.square(centred), axis=axes, keepdims=True)
        standard = centred / np.sqrt(variance + call.get("epsilon", 1e-5))
        return np.asarray(standard * scale.reshape(column) + offset.reshape(column)).astype(value.dtype)


def check_statistics(x: Shape, axis: int, scale: np.ndarray, epsilon: float) -> None:
    """`Refusal` unless samples of shape ``x`` may be normalised over the axes from ``axis`` on, and scaled."""
    check_axes((axis,), x)
    hold(scale.shape == x[axis:], "the scale does not have the shape of what is normalised")
    hold(epsilon >= 0, "epsilon is negative", "Use a positive epsilon")


@onnx_operator(inputs=3, axis="int", epsilon="float", stash_type="int")
@dataclass(frozen=True, eq=False)
class LayerNormalization(Operator):
    """Over the axes from ``axis`` of one sample on."""

    behaviour = "max |gamma|/sqrt(epsilon): sound, and vacuous in practice"
    scale: np.ndarray  # of the normalised axes' shape
    bias: np.ndarray | None
    axis: int
    epsilon: float

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, scale, bias = call.activation(), call.weight(1), call.constant(2)
        if call.get("stash_type", 1) != 1:
            raise Refusal("statistics in low precision are not supported", "Export the model in float32")
        axis, epsilon = sample_axis(call.get("axis", -1), x.rank), float(call.get("epsilon", 1e-5))
        inner = x.shape[axis:]
        call.limits.check_tensor(inner)
        if bias is not None:
            bias = np.broadcast_to(call.weight(2), inner).copy()
        return cls(np.broadcast_to(scale, inner).copy(), bias, axis, epsilon)

    def check(self, *inputs: Shape) -> None:
        check_statistics(inputs[0], self.axis, self.scale, self.epsilon)
        hold(self.bias is None or self.bias.shape == self.scale.shape, "the bias does not have the shape of the scale")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        scale = arrays["scale"]
        return torch.nn.functional.layer_norm(inputs[0], scale.shape, scale, arrays.get("bias"), self.epsilon)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        if not self.epsilon:
            return Unbounded("a layer norm without epsilon is infinitely steep", "Use smoothing")
        return slope(up(float(np.max(np.abs(self.scale))) / math.sqrt(self.epsilon)))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, -1)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        given = [*inputs, *pen.given(self.scale, self.bias)]
        pen.node("LayerNormalization", given, output, axis=self.axis + 1, epsilon=self.epsilon)


@onnx_operator(axis="int")
@dataclass(frozen=True, eq=False)
class Softmax(Operator):
    """Along ``axis`` of one sample; before opset 13 over ``axis`` and all that follow, as one."""

    behaviour = "1/2"
    axis: int
    trailing: bool

    @classmethod
    def read(cls, call: Call) -> Operator:
        rank = call.activation().rank
        axis = sample_axis(call.get("axis", 1 if call.opset < 13 else -1), rank)
        return cls(axis, call.opset < 13 and axis != rank - 2)

    def check(self, *inputs: Shape) -> None:
        check_axes((self.axis,), inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        if not self.trailing:
            return torch.softmax(x, dim=self.axis + 1)
        return torch.softmax(x.flatten(self.axis + 1), dim=-1).reshape(x.shape)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        # diag(p) - p p^T has norm at most 1/2; along an axis of size 1 softmax is constant.
        return Slope(0.5)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        along = math.prod(given.shape[self.axis :]) if self.trailing else given.shape[self.axis]
        if not isinstance(given.value, Ordered) or along != math.prod(given.shape):
            return None
        return self.of_all(given.value.rising)

    @staticmethod
    def of_all(rising: bool) -> Known:
        """What is known where it is taken over all classes."""
        return Ordered(UNIT, rising, probabilities=True)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, 1 if call.opset < 13 else -1)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        if self.trailing:
            raise Unwritable("Softmax over several axes can't be written")
        pen.node(self.name, inputs, output, axis=self.axis + 1)


@onnx_operator(axis="int")
@dataclass(frozen=True, eq=False)
class LogSoftmax(Softmax):
    behaviour = "square root of the number of entries"

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        if not self.trailing:
            return torch.log_softmax(x, dim=self.axis + 1)
        return torch.log_softmax(x.flatten(self.axis + 1), dim=-1).reshape(x.shape)

    def lipschitz(self, *inputs: Shape) -> Rule:
        # I - 1 p^T projects along 1 onto the complement of p; so its norm is that of 1 p^T, at most sqrt(n)
        (shape,) = inputs
        return Slope(sqrt_up(math.prod(shape[self.axis :]) if self.trailing else shape[self.axis]))

    @staticmethod
    def of_all(rising: bool) -> Known:
        return Ordered(Range(high=0.0), rising)
