"""Arithmetic on activations, or on an activation and a constant, with ONNX's broadcasting."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from functools import reduce as folded
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph import rules
from radii.graph.bounds import diagonal, slope
from radii.graph.call import Activation, Call
from radii.graph.cone import jet
from radii.graph.cone.jet import Jet
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape, absolute
from radii.graph.ops.broadcast import broadcast, by_channel_of, check_constant, choice_rule, per_sample, sum_rule
from radii.graph.ops.layout import Identity
from radii.graph.ops.registry import MANY, onnx_operator
from radii.graph.order import UNIT, Given, Known, Ordered, Shared, clipped, constant, negated, plus, reciprocal, times
from radii.graph.pen import Pen
from radii.graph.views import View, broadcast_shifted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Binary(Operator):
    """Two operands: activations both, or one activation and a constant of one sample's shape."""

    activations = (1, 2)
    constant: np.ndarray | None = None
    constant_first: bool = False

    @classmethod
    def read(cls, call: Call) -> Operator:
        if len(call.inputs) != 2:
            raise Refusal("two operands are needed", "Export the model again")
        activations = call.activations()
        if len(activations) == 2:
            return cls()
        first = isinstance(call.input(1), Activation)
        return cls(per_sample(call.weight(0 if first else 1), activations[0]), first)

    def check(self, *inputs: Shape) -> None:
        known = self.constant is not None
        hold(len(inputs) + known == 2 and self.constant_first <= known, "it takes two operands, one may be a constant")
        check_constant(self.constant, inputs[0])

    def operands(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both operands, in the file's order."""
        if "constant" not in arrays:
            return inputs[0], inputs[1]
        return (arrays["constant"], inputs[0]) if self.constant_first else (inputs[0], arrays["constant"])

    def shape(self, *inputs: Shape) -> Shape:
        if self.constant is None:
            return broadcast(*inputs)
        return np.broadcast_shapes(self.constant.shape, inputs[0])

    def jets(self, inputs: Sequence[Jet]) -> tuple[Jet, Jet]:
        """The same on cells, where a constant is a single number."""
        if self.constant is None:
            return inputs[0], inputs[1]
        constant = inputs[0].constant(float(self.constant.reshape(())))
        return (constant, inputs[0]) if self.constant_first else (inputs[0], constant)

    def known(self, inputs: Sequence[Given]) -> list[Known | None]:
        """What is known of both operands, in the file's order."""
        values: list[Known | None] = [given.value for given in inputs]
        if self.constant is not None:
            values.insert(0 if self.constant_first else 1, constant(self.constant))
        return values

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)

    def write_operands(self, pen: Pen, inputs: list[str], output: str) -> None:
        """Write it under its own name, in the file's order."""
        constants = pen.given(self.constant)
        pen.node(self.name, [*constants, *inputs] if self.constant_first else [*inputs, *constants], output)


@dataclass(frozen=True, eq=False)
class Additive(Binary):
    """``c_1 a + c_2 b``."""

    linear = diagonal = True
    adds = "constant"

    def coefficients(self) -> tuple[float, float]:
        """(c_1, c_2)."""
        raise NotImplementedError

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        output = self.shape(*inputs)
        if self.constant is None:
            return sum_rule(self.coefficients(), inputs, output)
        return sum_rule(self.coefficients()[int(self.constant_first) :][:1], inputs, output)

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.add(*self.operands(inputs, absolute(arrays)))

    def transposed(self, form: Tensor, arrays: Mapping[str, Tensor], *inputs: Shape) -> tuple[Tensor | None, ...]:
        if {self.shape(*inputs)} != set(inputs):
            return super().transposed(form, arrays, *inputs)
        factors = self.coefficients()[int(self.constant_first) :][: len(inputs)]
        return tuple(form if factor == 1 else -form for factor in factors)

    def factors(self, shape: Shape) -> np.ndarray | None:
        return np.full(shape[0], self.coefficients()[int(self.constant_first)])

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        self.write_operands(pen, inputs, output)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Add(Additive):
    behaviour = "sum of the inputs' constants; 1 for a constant"

    def coefficients(self) -> tuple[float, float]:
        return 1.0, 1.0

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.add(*self.operands(inputs, arrays))

    def on_cells(self, *inputs: Jet) -> Jet:
        a, b = self.jets(inputs)
        return a + b

    def order(self, *inputs: Given) -> Known | None:
        return plus(*self.known(inputs))

    def absorbable(self, shape: Shape) -> tuple[np.ndarray, np.ndarray] | None:
        offset = None if self.constant is None else by_channel_of(self.constant, shape)
        return None if offset is None else (np.ones(shape[0]), offset)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Sub(Additive):
    behaviour = "sum of the inputs' constants; 1 for a constant"

    def coefficients(self) -> tuple[float, float]:
        return 1.0, -1.0

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.sub(*self.operands(inputs, arrays))

    def on_cells(self, *inputs: Jet) -> Jet:
        a, b = self.jets(inputs)
        return a - b

    def order(self, *inputs: Given) -> Known | None:
        a, b = self.known(inputs)
        return plus(a, negated(b))


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Mul(Binary):
    behaviour = "largest |factor| for a constant; unbounded for two activations"
    linear = diagonal = True

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.mul(*self.operands(inputs, arrays))

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        if self.constant is None:
            return rules.Unbounded(
                "it multiplies two activations, which has no global Lipschitz constant",
                "Use smoothing, or replace the product (a gate, an attention) by a sum",
            )
        return slope(diagonal(self.constant, inputs[0]))

    def on_cells(self, *inputs: Jet) -> Jet:
        a, b = self.jets(inputs)
        return a * b

    def order(self, *inputs: Given) -> Known | None:
        return times(*self.known(inputs))

    def factors(self, shape: Shape) -> np.ndarray | None:
        return None if self.constant is None else by_channel_of(self.constant, shape)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        self.write_operands(pen, inputs, output)


@onnx_operator(inputs=2)
@dataclass(frozen=True, eq=False)
class Div(Binary):
    behaviour = "1/(smallest |divisor|) for a constant; unbounded for an activation as the divisor"
    linear = diagonal = True

    def check(self, *inputs: Shape) -> None:
        super().check(*inputs)
        if self.constant is not None and not self.constant_first:
            normal = bool(np.all(np.abs(self.constant) >= 2.0**-126))  # in float32 too
            hold(normal, "a divisor is zero, or too small for float32", "Use constants other than zero")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.div(*self.operands(inputs, arrays))

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        if self.constant is None or self.constant_first:
            return rules.Unbounded(
                "it divides by an activation, which has no global Lipschitz constant",
                "Use smoothing, or divide by a constant",
            )
        with np.errstate(over="ignore"):
            reciprocal = 1 / self.constant.astype(np.float64)
            away = np.nextafter(np.abs(reciprocal), np.inf)
        return slope(diagonal(away, inputs[0])) if np.all(np.isfinite(away)) else slope(float("inf"))

    def on_cells(self, *inputs: Jet) -> Jet:
        a, b = self.jets(inputs)
        return a * jet.reciprocal(b)

    def order(self, *inputs: Given) -> Known | None:
        value, divisor = self.known(inputs)
        if isinstance(value, Ordered) and isinstance(divisor, Shared) and divisor.total_of == inputs[0].name:
            return Ordered(UNIT, value.rising, probabilities=True) if value.range.sign > 0 else None
        return times(value, reciprocal(divisor))

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor | None:
        return None if self.constant is None or self.constant_first else inputs[0] / arrays["constant"].abs()

    def factors(self, shape: Shape) -> np.ndarray | None:
        divisors = None if self.constant is None or self.constant_first else by_channel_of(self.constant, shape)
        return None if divisors is None else 1 / divisors

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        self.write_operands(pen, inputs, output)


def with_constant(inputs: Sequence[Jet], constant: np.ndarray | None) -> list[Jet]:
    """Operands on cells, and behind them the constant, a single number."""
    return [*inputs, *([] if constant is None else [inputs[0].constant(float(constant.reshape(())))])]


@onnx_operator(inputs=MANY)
@dataclass(frozen=True, eq=False)
class Sum(Operator):
    """Any number of operands; the constants among them are added up at import."""

    behaviour = "sum of the inputs' constants"
    activations = (1, MANY)
    linear = diagonal = True
    adds = "constant"
    takes_list = True
    constant: np.ndarray | None = None

    @classmethod
    def read(cls, call: Call) -> Operator:
        activations = call.activations()
        constants = [
            per_sample(call.weight(position), activations[0])
            for position, value in enumerate(call.inputs)
            if not isinstance(value, Activation)
        ]
        if not constants:
            return cls()
        call.limits.check_tensor(np.broadcast_shapes(*(constant.shape for constant in constants)))
        return cls(np.asarray(sum(constants[1:], constants[0].astype(np.float64))))

    def check(self, *inputs: Shape) -> None:
        check_constant(self.constant, inputs[0])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total + arrays["constant"] if "constant" in arrays else total

    def shape(self, *inputs: Shape) -> Shape:
        together = broadcast(*inputs)
        return together if self.constant is None else np.broadcast_shapes(self.constant.shape, together)

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        return sum_rule([1.0] * len(inputs), inputs, self.shape(*inputs))

    def on_cells(self, *inputs: Jet) -> Jet:
        return folded(operator.add, with_constant(inputs, self.constant))

    def order(self, *inputs: Given) -> Known | None:
        values: list[Known | None] = [given.value for given in inputs]
        return folded(plus, values if self.constant is None else [*values, constant(self.constant)])

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return self.run(inputs, absolute(arrays))

    def factors(self, shape: Shape) -> np.ndarray | None:
        return np.ones(shape[0])

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node(self.name, [*inputs, *pen.given(self.constant)], output)


@dataclass(frozen=True, eq=False)
class Extreme(Operator):
    """The largest or smallest of any number of operands; of the constants among them one is left at import."""

    behaviour = "square root of the sum of the squares of the inputs' constants; 1 for one activation"
    activations = (1, MANY)
    exact = True
    takes_list = True
    constant: np.ndarray | None = None

    @classmethod
    def read(cls, call: Call) -> Operator:
        activations = call.activations()
        if len(call.inputs) == 1:
            return Identity()
        constant = None
        for position, value in enumerate(call.inputs):
            if not isinstance(value, Activation):
                other = per_sample(call.weight(position), activations[0])
                if constant is not None:
                    call.limits.check_tensor(np.broadcast_shapes(constant.shape, other.shape))
                constant = other if constant is None else cls.of_arrays(constant, other)
        return cls(constant)

    def check(self, *inputs: Shape) -> None:
        check_constant(self.constant, inputs[0])

    @staticmethod
    def of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The larger or smaller, entry by entry."""
        raise NotImplementedError

    @staticmethod
    def of_tensors(a: Tensor, b: Tensor) -> Tensor:
        """The same operation on tensors."""
        raise NotImplementedError

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        result, *others = [*inputs, *arrays.values()]
        for other in others:
            result = self.of_tensors(result, other)
        return result

    def shape(self, *inputs: Shape) -> Shape:
        together = broadcast(*inputs)
        return together if self.constant is None else np.broadcast_shapes(self.constant.shape, together)

    def lipschitz(self, *inputs: Shape) -> rules.Rule:
        return choice_rule(inputs, self.shape(*inputs))

    def limit(self, inputs: Sequence[Given]) -> float | None:
        """The one number that its only activation is cut off at."""
        only = constant(self.constant) if self.constant is not None and len(inputs) == 1 else None
        return None if only is None else only.range.low

    def choices(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor], absent: float) -> Tensor:
        return torch.stack(torch.broadcast_tensors(*inputs, *arrays.values()), dim=-1)  # type: ignore[no-untyped-call]

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return broadcast_shifted(call)

    def write(self, pen: Pen, inputs: list[str], output: str, shapes: Sequence[Shape]) -> None:
        pen.node(self.name, [*inputs, *pen.given(self.constant)], output)


@onnx_operator(inputs=MANY)
@dataclass(frozen=True, eq=False)
class Max(Extreme):
    picks = 1

    @staticmethod
    def of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(a, b))

    @staticmethod
    def of_tensors(a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    def on_cells(self, *inputs: Jet) -> Jet:
        return folded(partial(jet.extreme, largest=True), with_constant(inputs, self.constant))

    def order(self, *inputs: Given) -> Known | None:
        limit = self.limit(inputs)
        return None if limit is None else clipped(inputs[0].value, limit, None, prod(self.shape(inputs[0].shape)))


@onnx_operator(inputs=MANY)
@dataclass(frozen=True, eq=False)
class Min(Extreme):
    picks = -1

    @staticmethod
    def of_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.minimum(a, b))

    @staticmethod
    def of_tensors(a: Tensor, b: Tensor) -> Tensor:
        return torch.minimum(a, b)

    def on_cells(self, *inputs: Jet) -> Jet:
        return folded(partial(jet.extreme, largest=False), with_constant(inputs, self.constant))

    def order(self, *inputs: Given) -> Known | None:
        limit = self.limit(inputs)
        return None if limit is None else clipped(inputs[0].value, None, limit, prod(self.shape(inputs[0].shape)))
