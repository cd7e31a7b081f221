"""Operators that decide: comparisons, choices, thresholds. A truth value is a float, 0 or 1, as all else here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.call import Activation, Call, Value
from radii.graph.cone.decision import Decision, either, less, truth
from radii.graph.cone.jet import Jet
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Univariate
from radii.graph.ops.broadcast import broadcast, check_constant, choice_rule, per_sample, without_batch
from radii.graph.ops.elementwise import Binary
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule, Slope, Unbounded
from radii.graph.views import View, broadcast_shifted

if TYPE_CHECKING:
    from torch import Tensor

JUMPS = "unbounded: smoothing only"
REMEDY = "Use smoothing, or replace the threshold by a continuous function"


@dataclass(frozen=True, eq=False)
class Comparison(Binary):
    """1 where it holds, else 0."""

    behaviour = JUMPS
    exact = True

    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        """Where it holds, as booleans."""
        raise NotImplementedError

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return self.holds(*self.operands(inputs, arrays)).to(inputs[0].dtype)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("a comparison jumps from 0 to 1", REMEDY)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Greater(Comparison):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a > b

    def on_cells(self, *inputs: Jet) -> Decision:
        a, b = self.jets(inputs)
        return less(b, a)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class GreaterOrEqual(Comparison):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a >= b

    def on_cells(self, *inputs: Jet) -> Decision:
        a, b = self.jets(inputs)
        return less(b, a)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Less(Comparison):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a < b

    def on_cells(self, *inputs: Jet) -> Decision:
        a, b = self.jets(inputs)
        return less(a, b)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class LessOrEqual(Comparison):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a <= b

    def on_cells(self, *inputs: Jet) -> Decision:
        a, b = self.jets(inputs)
        return less(a, b)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Equal(Comparison):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a == b


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Not(Univariate):
    behaviour = JUMPS
    takes_decisions = True
    exact = True

    def function(self, x: Tensor) -> Tensor:
        return (x == 0).to(x.dtype)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("a truth value jumps from 0 to 1", REMEDY)

    def on_cells(self, value: Jet | Decision) -> Jet | Decision:
        return value.negated() if isinstance(value, Decision) else value.constant(1.0) - value


@onnx_operator()
@dataclass(frozen=True, eq=False)
class IsNaN(Univariate):
    """Exporters guard softmax by it. No real number is one, so it is constant: 0, wherever its input has a bound.

    What can make one (log, sqrt, a quotient) is unbounded, or in a cone, which must not reach across this operator.
    """

    behaviour = "0"
    steepest = 0.0
    exact = True

    def function(self, x: Tensor) -> Tensor:
        return torch.isnan(x).to(x.dtype)


@onnx_operator(detect_positive="flag", detect_negative="flag")
@dataclass(frozen=True, eq=False)
class IsInf(Univariate):
    """As `IsNaN`: 0 on every number."""

    behaviour = "0"
    steepest = 0.0
    positive: bool = True
    negative: bool = True

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(bool(call.get("detect_positive", 1)), bool(call.get("detect_negative", 1)))

    def function(self, x: Tensor) -> Tensor:
        signs = torch.where(torch.isinf(x), torch.sign(x), 0.0)
        return ((signs > 0) * self.positive + (signs < 0) * self.negative).to(x.dtype)


@dataclass(frozen=True, eq=False)
class Connective(Binary):
    """An operator on two truth values."""

    behaviour = JUMPS
    takes_decisions = True

    @classmethod
    def read(cls, call: Call) -> Operator:
        numbers = (
            value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype.kind == "b" else value
            for value in call.inputs
        )
        return super().read(replace(call, inputs=tuple(numbers)))

    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        """Where it holds, as booleans."""
        raise NotImplementedError

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        a, b = self.operands(inputs, arrays)
        return self.holds(a != 0, b != 0).to(inputs[0].dtype)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("a truth value jumps from 0 to 1", REMEDY)

    def decisions(self, inputs: Sequence[Jet | Decision]) -> tuple[Decision, Decision]:
        """Both operands on cells, in no order."""
        operands = [truth(value) for value in inputs]
        if self.constant is not None:
            holds = np.full_like(operands[0].true, bool(self.constant.reshape(())))
            operands.append(Decision(holds, ~holds, np.zeros_like(holds)))
        return operands[0], operands[1]


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class And(Connective):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a & b

    def on_cells(self, *inputs: Jet | Decision) -> Decision:
        a, b = self.decisions(inputs)
        return a.both(b)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Or(Connective):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a | b

    def on_cells(self, *inputs: Jet | Decision) -> Decision:
        a, b = self.decisions(inputs)
        return either(a, b)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Xor(Connective):
    def holds(self, a: Tensor, b: Tensor) -> Tensor:
        return a ^ b

    def on_cells(self, *inputs: Jet | Decision) -> Decision:
        a, b = self.decisions(inputs)
        return either(a.both(b.negated()), a.negated().both(b))


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Sign(Univariate):
    behaviour = JUMPS
    exact = zero_at_zero = True

    def function(self, x: Tensor) -> Tensor:
        return torch.sign(x)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("the sign jumps at 0", REMEDY)

    def on_cells(self, u: Jet) -> Jet:
        return less(u.constant(0.0), u).between(u.constant(1.0), u.constant(-1.0))


@onnx_operator(alpha="float")
@dataclass(frozen=True, eq=False)
class ThresholdedRelu(Univariate):
    """x where it is above ``alpha``, else 0."""

    behaviour = "1 for alpha 0, else it jumps: smoothing only"
    exact = True
    alpha: float = 1.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("alpha", 1.0))

    def function(self, x: Tensor) -> Tensor:
        return torch.where(x > self.alpha, x, 0.0)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded(f"it jumps at {self.alpha:g}", REMEDY) if self.alpha else Slope(1.0)

    def on_cells(self, u: Jet) -> Jet:
        return less(u.constant(self.alpha), u).between(u, u.constant(0.0))


@onnx_operator(lambd="float", bias="float")
@dataclass(frozen=True, eq=False)
class Shrink(Univariate):
    """``x + bias`` below ``-lambd``, ``x - bias`` above ``lambd``, else 0."""

    behaviour = "1 for bias = lambd >= 0 (soft shrinkage), else it jumps: smoothing only"
    lambd: float = 0.5
    bias: float = 0.0

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("lambd", 0.5), call.get("bias", 0.0))

    def function(self, x: Tensor) -> Tensor:
        above = torch.where(x > self.lambd, x - self.bias, 0.0)
        return torch.where(x < -self.lambd, x + self.bias, above)

    def lipschitz(self, *inputs: Shape) -> Rule:
        if self.bias == self.lambd >= 0:
            return Slope(1.0)
        return Unbounded(f"it jumps at {self.lambd:g}", REMEDY)

    def on_cells(self, u: Jet) -> Jet:
        lambd, bias = u.constant(self.lambd), u.constant(self.bias)
        above = less(lambd, u).between(u - bias, u.constant(0.0))
        return less(u, -lambd).between(u + bias, above)


@onnx_operator(inputs=3)
@dataclass(frozen=True, eq=False)
class Where(Operator):
    """``yes`` where ``condition`` holds, else ``no``; each of the three is an activation where it is None here."""

    behaviour = "as Concat for a constant condition; else it jumps: smoothing only"
    activations = (1, 3)
    array_kinds = MappingProxyType({"condition": "b"})
    takes_decisions = True
    exact = True
    condition: np.ndarray | None
    yes: np.ndarray | None
    no: np.ndarray | None

    @classmethod
    def narrowed(cls, call: Call) -> Call:
        """Where the condition is known, and the same everywhere, the other operand never matters, whatever it holds."""
        condition = call.input(0)
        if len(call.inputs) != 3 or not isinstance(condition, np.ndarray) or condition.dtype.kind != "b":
            return call
        if condition.all() != condition.any():
            return call
        taken = call.inputs[1 if condition.all() else 2]
        shapes = [_in_file(value) for value in call.inputs if value is not None]
        if not isinstance(taken, Activation) or np.broadcast_shapes(*shapes) != _in_file(taken):
            return call
        return replace(call, operator="Identity", inputs=(taken,))

    @classmethod
    def read(cls, call: Call) -> Operator:
        if len(call.inputs) != 3 or any(value is None for value in call.inputs):
            raise Refusal("an operand is missing", "Export the model again")
        x, condition = call.activations()[0], call.inputs[0]
        if isinstance(condition, np.ndarray):
            condition = without_batch(condition, x)
        yes, no = (None if isinstance(call.inputs[i], Activation) else per_sample(call.weight(i), x) for i in (1, 2))
        if isinstance(condition, np.ndarray):
            yes, no = _where_taken(call, yes, condition), _where_taken(call, no, ~condition.astype(bool))
        return cls(None if isinstance(condition, Activation) else condition, yes, no)

    def check(self, *inputs: Shape) -> None:
        constants = self.arrays().values()
        hold(len(inputs) + len(constants) == 3, "it takes a condition and two values")
        for constant in constants:
            check_constant(constant, inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        values: Iterator[Tensor] = iter(inputs)
        condition, yes, no = (arrays[name] if name in arrays else next(values) for name in ("condition", "yes", "no"))
        return torch.where(condition.bool(), yes, no)

    def shape(self, *inputs: Shape) -> Shape:
        constants = (array.shape for array in self.arrays().values())
        return np.broadcast_shapes(broadcast(*inputs), *constants)

    def lipschitz(self, *inputs: Shape) -> Rule:
        if self.condition is None:
            return Unbounded("it chooses by a comparison, where it jumps", REMEDY)
        return choice_rule(inputs, self.shape(*inputs))

    def on_cells(self, *inputs: Jet | Decision) -> Jet:
        given = iter(inputs)
        x = next(value for value in inputs if isinstance(value, Jet))
        condition, yes, no = (
            next(given) if constant is None else x.constant(float(constant.reshape(())))
            for constant in (self.condition, self.yes, self.no)
        )
        if not isinstance(condition, Decision):
            value = condition.value
            condition = Decision(value.lo == 1, value.hi == 0, np.zeros_like(value.lo, dtype=bool))
        assert isinstance(yes, Jet) and isinstance(no, Jet)
        return condition.between(yes, no)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)


def _in_file(value: Value) -> Shape:
    """The shape of a value at a batch of 1."""
    return value.shape if isinstance(value, np.ndarray) or value.batch_in_shape else (1, *value.shape)


def _where_taken(call: Call, value: np.ndarray | None, taken: np.ndarray) -> np.ndarray | None:
    """A constant with 0 for what is not finite and is taken nowhere."""
    if value is None or np.isfinite(value).all():
        return value
    full = np.broadcast_shapes(value.shape, taken.shape)
    call.limits.check_made(full, max(value.size, taken.size))
    lone = (1,) * (len(full) - value.ndim) + value.shape
    axes = tuple(axis for axis, size in enumerate(lone) if size == 1)
    used = np.broadcast_to(taken, full).any(axis=axes, keepdims=True).reshape(value.shape)
    return np.where(used | np.isfinite(value), value, np.zeros_like(value))
