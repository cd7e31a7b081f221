"""Elementwise functions of one variable. Constants: the largest |f'|, rounded up (checked with mpmath in the tests).
Formulas: docs/numerics.md 2.8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from radii.graph.call import Call
from radii.graph.cone import jet
from radii.graph.cone.jet import Jet
from radii.graph.errors import hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.order import (
    EVERYTHING,
    POSITIVE,
    SYMMETRIC,
    UNIT,
    Given,
    Known,
    Range,
    clipped,
    moved,
    negated,
    reciprocal,
)
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, broadcast_shifted

if TYPE_CHECKING:
    from torch import Tensor

ERF = 1.1283791670955128  # 2/sqrt(pi)
GELU_ERF = 1.128904145186
GELU_TANH = 1.128993068660
SILU = 1.099839320129
MISH = 1.088498161253
MISH_LOWEST = -0.112526122390


@dataclass(frozen=True, eq=False)
class Univariate(Operator):
    """The same function at every entry."""

    entrywise = True
    increasing: ClassVar[Range | None] = None  # strictly so on the whole line: the range of what it makes
    steepest: ClassVar[float] = 1.0
    lowest: ClassVar[float] = -math.inf  # slope, rounded down; unknown: that of the steepest

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls()

    def check(self, *inputs: Shape) -> None:
        """Most functions take any parameters."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(self.steepest, interval=(max(self.lowest, -self.steepest), self.steepest))

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return self.function(inputs[0])

    def function(self, x: Tensor) -> Tensor:
        """The function itself."""
        raise NotImplementedError

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return None if self.increasing is None else moved(given.value, self.increasing)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Relu(Univariate):
    behaviour = "1"
    lowest = 0.0
    exact = zero_at_zero = True
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    def hinge(self) -> tuple[float, float]:
        return 0.0, 1.0

    def on_cells(self, u: Jet) -> Jet:
        return jet.kinked(u, 0.0, 1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return clipped(given.value, 0.0, None, math.prod(given.shape))


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Tanh(Univariate):
    behaviour = "1"
    lowest = 0.0
    increasing = SYMMETRIC
    zero_at_zero = True
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def on_cells(self, u: Jet) -> Jet:
        return jet.tanh(u)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Softplus(Univariate):
    behaviour = "1"
    lowest = 0.0
    increasing = POSITIVE
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device))

    def on_cells(self, u: Jet) -> Jet:
        return jet.softplus(u)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Softsign(Univariate):
    behaviour = "1"
    lowest = 0.0
    increasing = SYMMETRIC
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.softsign(x)

    def on_cells(self, u: Jet) -> Jet:
        return u * jet.reciprocal(jet.kinked(u, -1.0, 1.0) + u.constant(1.0))


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Abs(Univariate):
    behaviour = "1"
    exact = zero_at_zero = True
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.abs(x)

    def hinge(self) -> tuple[float, float]:
        return -1.0, 1.0

    def on_cells(self, u: Jet) -> Jet:
        return jet.kinked(u, -1.0, 1.0)

    def order(self, *inputs: Given) -> Known | None:
        ((value, *_),) = inputs
        if value.range.low >= 0:
            return value
        return negated(value) if value.range.high <= 0 else None


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Neg(Univariate):
    behaviour = "1"
    exact = linear = diagonal = zero_at_zero = True
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return -x

    def on_cells(self, u: Jet) -> Jet:
        return -u

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return inputs[0]

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return negated(given.value)

    def factors(self, shape: Shape) -> np.ndarray | None:
        return np.full(shape[0], -1.0)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Sigmoid(Univariate):
    behaviour = "1/4"
    steepest = 0.25
    is_probability = True
    lowest = 0.0
    increasing = UNIT
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def on_cells(self, u: Jet) -> Jet:
        return jet.sigmoid(u)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class HardSwish(Univariate):
    behaviour = "3/2"
    steepest = 1.5
    lowest = -0.5
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.hardswish(x)

    def on_cells(self, u: Jet) -> Jet:
        return u * jet.clipped(u.scaled(1 / 6, exact=False) + u.constant(0.5), 0.0, 1.0)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Mish(Univariate):
    behaviour = f"{MISH}"
    steepest = MISH
    lowest = MISH_LOWEST
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return x * torch.tanh(torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device)))

    def on_cells(self, u: Jet) -> Jet:
        return u * jet.tanh(jet.softplus(u))


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Erf(Univariate):
    behaviour = "2/sqrt(pi)"
    steepest = ERF
    lowest = 0.0
    increasing = SYMMETRIC
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.erf(x)

    def on_cells(self, u: Jet) -> Jet:
        return jet.error_function(u)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Exp(Univariate):
    behaviour = "unbounded: smoothing only"
    increasing = POSITIVE
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.exp(x)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("exp grows without bound", "Use smoothing")

    def on_cells(self, u: Jet) -> Jet:
        return jet.exponential(u)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Sqrt(Univariate):
    behaviour = "unbounded: smoothing only"
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("the square root is infinitely steep at 0", "Use smoothing")

    def on_cells(self, u: Jet) -> Jet:
        return jet.square_root(u)

    def order(self, *inputs: Given) -> Known | None:
        ((value, *_),) = inputs
        return moved(value, Range(0.0, nonzero=value.range.nonzero)) if value.range.low >= 0 else None


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Log(Univariate):
    behaviour = "unbounded: smoothing only"
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.log(x)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("the logarithm is infinitely steep at 0", "Use smoothing")

    def on_cells(self, u: Jet) -> Jet:
        return jet.logarithm(u)

    def order(self, *inputs: Given) -> Known | None:
        ((value, *_),) = inputs
        return moved(value, EVERYTHING) if value.range.sign > 0 else None


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Reciprocal(Univariate):
    behaviour = "unbounded: smoothing only"
    written_as_is = True

    def function(self, x: Tensor) -> Tensor:
        return torch.reciprocal(x)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("the reciprocal is infinitely steep at 0", "Use smoothing, or divide by a constant")

    def on_cells(self, u: Jet) -> Jet:
        return jet.reciprocal(u)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return reciprocal(given.value)


@onnx_operator(approximate="string")
@dataclass(frozen=True, eq=False)
class Gelu(Univariate):
    behaviour = f"{GELU_ERF} (erf), {GELU_TANH} (tanh)"
    written_as_is = True
    approximate: str = "none"

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("approximate", "none"))

    def check(self, *inputs: Shape) -> None:
        hold(self.approximate in ("none", "tanh"), "approximate must be none or tanh", "Use one of the two")

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x, approximate=self.approximate)

    def lipschitz(self, *inputs: Shape) -> Rule:
        steepest = GELU_ERF if self.approximate == "none" else GELU_TANH
        return Slope(steepest, interval=(1 - steepest - 2.0**-50, steepest))  # f'(x) + f'(-x) = 1

    def on_cells(self, u: Jet) -> Jet:
        if self.approximate == "none":
            gate = jet.error_function(u.scaled(math.sqrt(0.5), exact=False))
        else:
            cubic = u + jet.power(u, 3).scaled(0.044715, exact=False)
            gate = jet.tanh(cubic.scaled(math.sqrt(2 / math.pi), exact=False))
        return (u * (gate + u.constant(1.0))).scaled(0.5)
