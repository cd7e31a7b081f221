"""Matrix products with constants: Gemm and MatMul."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph import rules
from radii.graph.bounds import diagonal, slope, up
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.broadcast import per_sample
from radii.graph.ops.layout import Reshape
from radii.graph.ops.registry import graph_operator, onnx_operator
from radii.graph.pen import Pen
from radii.graph.rules import Dense, Rule, Unbounded
from radii.graph.views import View, broadcast_shifted, seen_as, shifted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """``y = W x + b`` on the last axis; ``weight`` is (out, in)."""

    adds = "bias"
    weight: np.ndarray
    bias: np.ndarray | None = None

    def check(self, *inputs: Shape) -> None:
        hold(self.weight.ndim == 2, "the matrix does not have two axes")
        one_a_row = self.bias is None or self.bias.shape == self.weight.shape[:1]
        hold(one_a_row, "the bias does not have one entry a row of the matrix")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.nn.functional.linear(inputs[0], arrays["weight"], arrays.get("bias"))

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if not shape or shape[-1] != self.weight.shape[1]:
            raise Refusal(
                f"a matrix with {self.weight.shape[1]} columns meets an input of shape {list(shape)}",
                "Export the model again with an input of the right size",
            )
        return (*shape[:-1], self.weight.shape[0])

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Dense(self.weight)

    def transposed(self, form: Tensor, arrays: Mapping[str, Tensor], *inputs: Shape) -> tuple[Tensor]:
        return (form @ arrays["weight"],)

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(inputs[0][:-1]) * self.weight.size

    def rescaled(self, scale: np.ndarray, offset: np.ndarray, output: Shape) -> Linear | None:
        if len(output) != 1:  # axis 1 is the last axis only then
            return None
        bias = offset if self.bias is None else scale * self.bias + offset
        return type(self)(scale[:, None] * self.weight, bias)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        if len(shapes[0]) == 1:
            pen.node("Gemm", [*inputs, *pen.given(self.weight, self.bias)], output, transB=1)
            return
        weight = pen.constant(self.weight.T)
        product = pen.node("MatMul", [*inputs, weight], output if self.bias is None else f"{output}p")
        if self.bias is not None:
            pen.node("Add", [product, pen.constant(self.bias)], output)


@onnx_operator(inputs=3, alpha="float", beta="float", transA="flag", transB="flag")
@dataclass(frozen=True, eq=False)
class Gemm(Linear):
    """``alpha A B + beta C``, A the activation; alpha and beta go into the constants."""

    behaviour = "spectral norm of the matrix"

    @classmethod
    def read(cls, call: Call) -> Operator:
        x = call.activation()
        if x.rank != 2 or call.get("transA", 0):
            raise Refusal("Gemm must have a batch of vectors on its left", "Flatten the input before the layer")
        weight, bias = call.weight(1), call.constant(2)
        if weight.ndim != 2:
            raise Refusal("the matrix of Gemm must have two axes", "Export the model again")
        weight = _scaled(weight if call.get("transB", 0) else weight.T, call.get("alpha", 1.0))
        if bias is None:
            return cls(weight)
        bias = _scaled(call.weight(2), call.get("beta", 1.0))
        if bias.ndim == 2 and bias.shape[0] == 1:
            bias = bias[0]
        if bias.ndim > 1:
            raise Refusal("the bias of Gemm differs from sample to sample", "Use one bias for all samples")
        return cls(weight, np.broadcast_to(bias, weight.shape[:1]).copy())

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        shapes = [x.shape for x in call.activations()]
        of_a_row = seen_as(call, [shape[1:] for shape in shapes], lambda made: made)
        return of_a_row._replace(shapes=tuple(shapes))  # read as the layer of one row, run on all of them


def _scaled(array: np.ndarray, factor: float) -> np.ndarray:
    return array if factor == 1 else array.astype(np.float64) * factor


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class MatMul(Linear):
    """An activation times a constant matrix. Left products and products of activations: the classes below."""

    behaviour = "spectral norm of a constant matrix; unbounded for two activations"

    @classmethod
    def read(cls, call: Call) -> Operator:
        if len(call.inputs) != 2:
            raise Refusal("two factors are needed", "Export the model again")
        if len(call.activations()) == 2:
            return Product()
        left = isinstance(call.input(1), Activation)
        matrix = call.weight(0 if left else 1)
        while matrix.ndim > 2 and matrix.shape[0] == 1 and matrix.ndim <= call.activations()[0].rank:
            matrix = matrix[0]
        if matrix.ndim < 2:
            raise Refusal("the constant of a matrix product is a single number", "Use Mul, which takes one")
        if matrix.ndim > 2:
            return Matrices(per_sample(matrix, call.activations()[0]), left)
        return LeftMatMul(matrix) if left else cls(matrix.T)

    @classmethod
    def read_in_steps(cls, call: Call) -> tuple[Operator, ...]:
        """A constant vector is a matrix of one row or column, and the axis of size 1 that it makes is dropped."""
        for position, value in enumerate(call.inputs):
            if isinstance(value, np.ndarray) and value.ndim == 1:
                inputs = list(call.inputs)
                inputs[position] = value[:, None] if position else value[None]
                product = cls.read(replace(call, inputs=tuple(inputs)))
                made = list(product.shape(call.activation(1 - position).shape))
                made.pop(-1 if position else -2)
                return product, Reshape(tuple(made))
        return (cls.read(call),)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        if all(len(x.shape) > 1 for x in call.activations()):
            return broadcast_shifted(call)
        matrix = call.input(0)
        if isinstance(matrix, np.ndarray) and matrix.ndim == 2:  # times a vector: rows of vectors times its transpose
            return shifted(call, inputs=(call.input(1), matrix.T))
        return shifted(call)


@graph_operator
@dataclass(frozen=True, eq=False)
class LeftMatMul(Operator):
    """A constant matrix times an activation: ``y = W x`` on the axis before the last."""

    behaviour = "spectral norm of the constant matrix"
    adds = ""
    weight: np.ndarray  # (out, in)

    @property
    def name(self) -> str:
        return "MatMul"

    def check(self, *inputs: Shape) -> None:
        hold(self.weight.ndim == 2, "the matrix does not have two axes")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.matmul(arrays["weight"], inputs[0])

    def shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if len(shape) < 2 or shape[-2] != self.weight.shape[1]:
            raise Refusal(
                f"a matrix with {self.weight.shape[1]} columns stands before an input of shape {list(shape)}",
                "Put the matrix on the right, as Linear layers do",
            )
        return (*shape[:-2], self.weight.shape[0], shape[-1])

    def lipschitz(self, *inputs: Shape) -> Rule:
        return rules.Matrices(self.weight[np.newaxis])  # not `Dense`, which speaks of the last axis

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(inputs[0][:-2]) * self.weight.size * inputs[0][-1]

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("MatMul", [pen.constant(self.weight), *inputs], output)


def _copied(a: Shape, b: Shape) -> int:
    """Entries of the factors of a product of stacks of matrices, where torch copies them to broadcast them."""
    copies = prod(np.broadcast_shapes(a[:-2], b[:-2]))
    return sum(copies * prod(matrix[-2:]) for matrix in (a, b) if prod(matrix[:-2]) < copies)


@graph_operator
@dataclass(frozen=True, eq=False)
class Matrices(Operator):
    """A constant matrix for each head or group, on the left or the right of its part of the activation."""

    behaviour = "a bound of the largest matrix' norm"
    adds = ""
    weight: np.ndarray  # (..., out, in) on the left, (..., in, out) on the right
    left: bool

    @property
    def name(self) -> str:
        return "MatMul"

    def check(self, *inputs: Shape) -> None:
        hold(3 <= self.weight.ndim <= len(inputs[0]), "the matrices are not one for each part of a sample")

    def scratch(self, *inputs: Shape) -> int:
        return _copied(self.weight.shape, inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return torch.matmul(arrays["weight"], x) if self.left else torch.matmul(x, arrays["weight"])

    def shape(self, *inputs: Shape) -> Shape:
        (x,) = inputs
        a, b = (self.weight.shape, x) if self.left else (x, self.weight.shape)
        if len(x) < self.weight.ndim or a[-1] != b[-2]:
            raise Refusal(
                f"matrices of shape {list(self.weight.shape)} meet an input of shape {list(x)}",
                "Export the model again with an input of the right shape",
            )
        return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])

    def lipschitz(self, *inputs: Shape) -> Rule:
        if np.broadcast_shapes(self.weight.shape[:-2], inputs[0][:-2]) == inputs[0][:-2]:
            stack = self.weight if self.left else self.weight.swapaxes(-1, -2)
            return rules.Matrices(stack.reshape(-1, *stack.shape[-2:]))
        weight = np.abs(self.weight.astype(np.float64))  # parts of the input are copied
        bounds = np.sqrt(weight.sum(-1).max(-1)) * np.sqrt(weight.sum(-2).max(-1)) * (1 + weight.size * 2.0**-52)
        return slope(up(diagonal(bounds, inputs[0][:-2])))

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(self.shape(*inputs)) * int(self.weight.shape[-1 if self.left else -2])

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        weight = pen.constant(self.weight)
        pen.node("MatMul", [weight, *inputs] if self.left else [*inputs, weight], output)


@graph_operator
@dataclass(frozen=True, eq=False)
class Product(Operator):
    """A matrix product of two activations, as in attention."""

    behaviour = "unbounded: smoothing only"
    activations = (2, 2)
    adds = ""

    @property
    def name(self) -> str:
        return "MatMul"

    def check(self, *inputs: Shape) -> None:
        """It has no fields."""

    def scratch(self, *inputs: Shape) -> int:
        return _copied(*inputs)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.matmul(inputs[0], inputs[1])

    def shape(self, *inputs: Shape) -> Shape:
        a, b = inputs
        if len(a) != len(b) or len(a) < 2 or a[-1] != b[-2]:
            raise Refusal(
                f"activations of shapes {list(a)} and {list(b)} a sample can't be multiplied as matrices",
                "Give both the same number of axes, the batch first",
            )
        return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("it multiplies two activations, which has no global Lipschitz constant", "Use smoothing")

    def multiply_adds(self, *inputs: Shape) -> int:
        return prod(self.shape(*inputs)) * inputs[0][-1]

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("MatMul", inputs, output)
