"""Elementwise functions of one variable that have parameters. Formulas: docs/numerics.md 2.8."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import slope, up
from radii.graph.call import Call
from radii.graph.cone import jet
from radii.graph.cone.jet import Jet
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import SILU, Univariate
from radii.graph.ops.broadcast import per_sample
from radii.graph.ops.registry import onnx_operator
from radii.graph.order import EVERYTHING, POSITIVE, Given, Known, Range, clipped, moved, number, plus, times
from radii.graph.pen import Pen
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, broadcast_shifted

if TYPE_CHECKING:
    from torch import Tensor


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Pow(Univariate):
    behaviour = "1 for the exponent 1, else unbounded: smoothing only"
    exponent: float = 1.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        exponent = call.constant(1)
        if exponent is None or exponent.size != 1 or exponent.dtype.kind not in "iuf":
            raise Refusal("the exponent must be one constant number", "Use a constant exponent")
        if exponent.ndim > call.activation().rank:
            raise Refusal("the exponent adds an axis", "Use a scalar exponent")
        return cls(float(exponent.reshape(())))

    def function(self, x: Tensor) -> Tensor:
        return torch.pow(x, self.exponent)

    def lipschitz(self, *inputs: Shape) -> Rule:
        if self.exponent == 1:
            return Slope(1.0, interval=(1.0, 1.0))
        return Unbounded(f"x^{self.exponent:g} is not Lipschitz on the real line", "Use smoothing")

    def on_cells(self, u: Jet) -> Jet:
        if abs(self.exponent) > 16 or (2 * self.exponent) % 1:
            return jet.power(u.constant(0.0), -1.0)  # everything: no bound
        return jet.power(u, self.exponent)

    def order(self, *inputs: Given) -> Known | None:
        ((value, *_),) = inputs
        low, _, nonzero = value.range
        if self.exponent > 0 and (low >= 0 or self.exponent % 2 == 1):
            return moved(value, Range(0.0, nonzero=nonzero) if low >= 0 else EVERYTHING)
        return moved(value, POSITIVE, rising=False) if self.exponent < 0 and value.range.sign > 0 else None


@onnx_operator(alpha="float")
@dataclass(frozen=True, eq=False)
class LeakyRelu(Univariate):
    behaviour = "max(1, |alpha|)"
    zero_at_zero = True
    written_as_is = True
    alpha: float = 0.01

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 0.01))

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.leaky_relu(x, self.alpha)

    def hinge(self) -> tuple[float, float]:
        return self.alpha, 1.0

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(max(1.0, abs(self.alpha)), interval=(min(1.0, self.alpha), max(1.0, self.alpha)))

    def on_cells(self, u: Jet) -> Jet:
        return jet.kinked(u, self.alpha, 1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return moved(given.value, EVERYTHING) if self.alpha > 0 else None


def _elu(u: Jet, alpha: float, gamma: float = 1.0, rate: float = 1.0) -> Jet:
    below = jet.exponential(jet.kinked(u, 1.0, 0.0).scaled(rate, exact=rate == 1)) - u.constant(1.0)
    return (jet.kinked(u, 0.0, 1.0) + below.scaled(alpha)).scaled(gamma)


@onnx_operator(alpha="float")
@dataclass(frozen=True, eq=False)
class Elu(Univariate):
    behaviour = "max(1, |alpha|)"
    written_as_is = True
    alpha: float = 1.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 1.0))

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.elu(x, self.alpha)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(max(1.0, abs(self.alpha)), interval=(min(0.0, self.alpha), max(1.0, self.alpha)))

    def on_cells(self, u: Jet) -> Jet:
        return _elu(u, self.alpha)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return moved(given.value, EVERYTHING) if self.alpha > 0 else None


@onnx_operator(alpha="float", gamma="float")
@dataclass(frozen=True, eq=False)
class Selu(Univariate):
    behaviour = "|gamma| max(1, |alpha|)"
    written_as_is = True
    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", cls.alpha), call.get("gamma", cls.gamma))

    def function(self, x: Tensor) -> Tensor:
        return self.gamma * torch.nn.functional.elu(x, self.alpha)

    def lipschitz(self, *inputs: Shape) -> Rule:
        upper = up(abs(self.gamma) * max(1.0, abs(self.alpha)))
        return slope(upper, interval=(0.0 if min(self.alpha, self.gamma) >= 0 else -upper, upper))

    def on_cells(self, u: Jet) -> Jet:
        return _elu(u, self.alpha, self.gamma)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return moved(given.value, EVERYTHING) if self.alpha > 0 and self.gamma > 0 else None


@onnx_operator(alpha="float")
@dataclass(frozen=True, eq=False)
class Celu(Univariate):
    behaviour = "1"
    lowest = 0.0
    increasing = EVERYTHING
    written_as_is = True
    alpha: float = 1.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 1.0))

    def check(self, *inputs: Shape) -> None:
        hold(self.alpha >= 2.0**-126, "alpha must be positive, in float32 too", "Use a positive alpha")

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.celu(x, self.alpha)

    def on_cells(self, u: Jet) -> Jet:
        return _elu(u, self.alpha, rate=1 / self.alpha)


@onnx_operator(alpha="float")
@dataclass(frozen=True, eq=False)
class Swish(Univariate):
    """``x sigmoid(alpha x)`` (opset 24): its slope at x is that of SiLU at ``alpha x``."""

    behaviour = f"{SILU}"
    steepest = SILU
    lowest = 1 - SILU - 2.0**-50  # f'(x) + f'(-x) = 1
    alpha: float = 1.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 1.0))

    def function(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.alpha * x)

    def on_cells(self, u: Jet) -> Jet:
        return u * jet.sigmoid(u.scaled(self.alpha))


@onnx_operator(alpha="float", beta="float")
@dataclass(frozen=True, eq=False)
class HardSigmoid(Univariate):
    behaviour = "|alpha|"
    written_as_is = True
    alpha: float = 0.2
    beta: float = 0.5

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 0.2), call.get("beta", 0.5))

    def function(self, x: Tensor) -> Tensor:
        return torch.clamp(self.alpha * x + self.beta, 0.0, 1.0)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(abs(self.alpha), interval=(min(0.0, self.alpha), max(0.0, self.alpha)))

    def on_cells(self, u: Jet) -> Jet:
        return jet.clipped(u.scaled(self.alpha) + u.constant(self.beta), 0.0, 1.0)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        line = plus(times(given.value, number(self.alpha)), number(self.beta))
        return None if line is None else clipped(line, 0.0, 1.0, math.prod(given.shape))


@onnx_operator(inputs=3, min="float", max="float")
@dataclass(frozen=True, eq=False)
class Clip(Univariate):
    """Between two constants, given as attributes up to opset 10 and as inputs since."""

    behaviour = "1"
    lowest = 0.0
    exact = True
    low: float | None = None
    high: float | None = None

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(_limit(call, 1, "min", -math.inf), _limit(call, 2, "max", math.inf))

    def function(self, x: Tensor) -> Tensor:
        if self.low is None and self.high is None:
            return x
        return torch.clamp(x, self.low, self.high)

    def on_cells(self, u: Jet) -> Jet:
        return jet.clipped(u, -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        return clipped(given.value, self.low, self.high, math.prod(given.shape))

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        ends = ["" if end is None else pen.constant(np.array(end, np.float32)) for end in (self.low, self.high)]
        pen.node("Clip", [*inputs, *ends], output)


def _limit(call: Call, position: int, name: str, absent: float) -> float | None:
    given = call.constant(position)
    call.only_one(position, name)
    if given is None:
        value = float(call.get(name, absent))
    elif given.size == 1 and given.dtype.kind == "f":
        value = float(given.reshape(()))
    else:
        raise Refusal(f"{name} must be one constant number", "Clip to constants")
    if math.isnan(value):
        raise Refusal(f"{name} is not a number", "Clip to constants")
    return None if value == absent else value


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class PRelu(Operator):
    behaviour = "max(1, |slope|)"
    slope: np.ndarray

    @classmethod
    def read(cls, call: Call) -> Operator:
        x = call.activation()
        return cls(per_sample(call.weight(1), x))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        hold(np.broadcast_shapes(self.slope.shape, x) == x, "the slope is larger than its input", "Use one a channel")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        return torch.where(x < 0, arrays["slope"] * x, x)

    def sides(self, arrays: Mapping[str, Tensor]) -> tuple[Tensor, float]:
        return arrays["slope"], 1.0

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        low, high = float(np.min(self.slope)), float(np.max(self.slope))
        return Slope(max(1.0, high, -low), interval=(min(1.0, low), max(1.0, high)))

    def order(self, *inputs: Given) -> Known | None:
        (given,) = inputs
        same = self.slope.flat[0]
        return moved(given.value, EVERYTHING) if same > 0 and np.all(self.slope == same) else None

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node("PRelu", [*inputs, pen.constant(self.slope)], output)
