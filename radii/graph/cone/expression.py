"""Which operators act on every entry alone, and how each of them acts on a `Jet`.

An expression is a tuple of `Step`; the value 0 is its variable, the value i what step i makes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radii.graph.cone import jet
from radii.graph.cone.jet import Bools, Jet
from radii.graph.operator import Operator


@dataclass(frozen=True, slots=True)
class Decision:
    """A condition on each cell: surely true, surely false, or (neither) changing over; ``once``: one time at most."""

    true: Bools
    false: Bools
    once: Bools

    def negated(self) -> "Decision":
        """Its opposite."""
        return Decision(self.false, self.true, self.once)

    def both(self, other: "Decision") -> "Decision":
        """That both hold: it changes over once where one of them does, and the other holds throughout."""
        once = (self.once & other.true) | (self.true & other.once)
        return Decision(self.true & other.true, self.false | other.false, once)

    def between(self, yes: Jet, no: Jet) -> Jet:
        """``yes`` where it holds, else ``no``."""
        made = yes.choose(no, self.true, self.false)
        wild = ~(self.true | self.false | self.once)
        return Jet(made.value, made.slope, made.curvature, made.error, np.where(wild, np.inf, made.jump))


Known = Jet | Decision
Rule = Callable[[Any, Sequence[Any]], Known]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operator of an expression, on values made before it."""

    operator: Operator
    inputs: tuple[int, ...]

    def key(self) -> tuple[Any, ...]:
        """What it does, comparable: constants are scalars here, so their values are the whole of them."""
        operator = self.operator
        arrays = ((name, array.reshape(-1).tolist()) for name, array in operator.arrays().items())
        return operator.name, repr((sorted(operator.settings().items()), sorted(arrays))), self.inputs


def evaluate(steps: Sequence[Step], x: Jet) -> Jet:
    """The expression on cells."""
    one, zero = x.constant(1.0), x.constant(0.0)
    values: list[Known] = [x]
    for step in steps:
        inputs = [values[i] for i in step.inputs]
        if step.operator.name not in DECIDED:  # a truth value is a number, 0 or 1
            inputs = [value.between(one, zero) if isinstance(value, Decision) else value for value in inputs]
        made = RULES[step.operator.name](step.operator, inputs)
        argument = _softplus_argument(steps, step)
        if argument is not None:  # tighter, its own rounding and overflow aside
            u, spelled = values[argument], made
            assert isinstance(u, Jet) and isinstance(spelled, Jet)
            made = replace(jet.softplus(u), error=spelled.error, jump=spelled.jump)
        values.append(made)
    result = values[-1]
    return result.between(one, zero) if isinstance(result, Decision) else result


def _softplus_argument(steps: Sequence[Step], step: Step) -> int | None:
    """The u of ``log(exp(u) + 1)``, whose derivative intervals can't see to be a sigmoid."""
    path = [step]
    for name in ("Log", "Add", "Exp"):
        last = path[-1]
        if last.operator.name != name or len(last.inputs) != 1 or (name == "Add" and _constant(last.operator) != 1):
            return None
        (position,) = last.inputs
        if name == "Exp":
            return position
        if position == 0:
            return None
        path.append(steps[position - 1])
    return None


def _constant(operator: Any) -> float:
    return float(operator.constant.reshape(()))


def is_scalar(operator: Operator) -> bool:
    """Whether an operator is one of ours here, and its constants are single numbers."""
    return operator.name in RULES and all(array.size == 1 for array in operator.arrays().values())


def _operands(operator: Any, inputs: Sequence[Jet]) -> tuple[Jet, Jet]:
    if operator.constant is None:
        return inputs[0], inputs[1]
    constant = inputs[0].constant(_constant(operator))
    return (constant, inputs[0]) if operator.constant_first else (inputs[0], constant)


def _binary(function: Callable[[Jet, Jet], Known]) -> Rule:
    return lambda operator, inputs: function(*_operands(operator, inputs))


def _unary(function: Callable[[Jet], Jet]) -> Rule:
    return lambda operator, inputs: function(inputs[0])


def _many(function: Callable[[Jet, Jet], Jet]) -> Rule:
    def rule(operator: Any, inputs: Sequence[Jet]) -> Jet:
        operands = list(inputs)
        constant = getattr(operator, "constant", None)
        if constant is not None:
            operands.append(inputs[0].constant(float(constant.reshape(()))))
        result = operands[0]
        for other in operands[1:]:
            result = function(result, other)
        return result

    return rule


def _scaled(u: Jet, factor: float, exact: bool = True) -> Jet:
    return u * u.constant(factor, exact)


def _elu(u: Jet, alpha: float, gamma: float = 1.0, rate: float = 1.0) -> Jet:
    below = jet.exponential(_scaled(jet.kinked(u, 1.0, 0.0), rate, exact=rate == 1)) - u.constant(1.0)
    return _scaled(jet.kinked(u, 0.0, 1.0) + _scaled(below, alpha), gamma)


def _gelu(operator: Any, inputs: Sequence[Jet]) -> Jet:
    (u,) = inputs
    if operator.approximate == "none":
        gate = jet.error_function(_scaled(u, math.sqrt(0.5), exact=False))
    else:
        gate = jet.tanh(
            _scaled(u + _scaled(jet.power(u, 3), 0.044715, exact=False), math.sqrt(2 / math.pi), exact=False)
        )
    return _scaled(u * (gate + u.constant(1.0)), 0.5)


def _power(operator: Any, inputs: Sequence[Jet]) -> Jet:
    (u,) = inputs
    exponent = operator.exponent
    if abs(exponent) > 16 or (2 * exponent) % 1:
        return jet.power(u.constant(0.0), -1.0)  # everything: no bound
    return jet.power(u, exponent)


def _less(a: Jet, b: Jet) -> Decision:
    difference = b - a
    computed = difference.value + difference.error.symmetric()
    steady = (difference.slope.lo > 0) | (difference.slope.hi < 0)
    return Decision(computed.lo > 0, computed.hi < 0, steady & (difference.jump == 0))


def _greater(a: Jet, b: Jet) -> Decision:
    return _less(b, a)


def _thresholded(operator: Any, inputs: Sequence[Jet]) -> Jet:
    (u,) = inputs
    return _less(u.constant(operator.alpha), u).between(u, u.constant(0.0))


def _shrink(operator: Any, inputs: Sequence[Jet]) -> Jet:
    (u,) = inputs
    lambd, bias = u.constant(operator.lambd), u.constant(operator.bias)
    above = _less(lambd, u).between(u - bias, u.constant(0.0))
    return _less(u, -lambd).between(u + bias, above)


def _where(operator: Any, inputs: Sequence[Known]) -> Jet:
    given = iter(inputs)
    x = next(value for value in inputs if isinstance(value, Jet))
    condition, yes, no = (
        next(given) if constant is None else x.constant(float(constant.reshape(())))
        for constant in (operator.condition, operator.yes, operator.no)
    )
    if not isinstance(condition, Decision):
        value = condition.value
        condition = Decision(value.lo == 1, value.hi == 0, np.zeros_like(value.lo, dtype=bool))
    assert isinstance(yes, Jet) and isinstance(no, Jet)
    return condition.between(yes, no)


def _not(operator: Any, inputs: Sequence[Known]) -> Known:
    (value,) = inputs
    return value.negated() if isinstance(value, Decision) else value.constant(1.0) - value


def _connected(function: Callable[[Decision, Decision], Decision]) -> Rule:
    def rule(operator: Any, inputs: Sequence[Known]) -> Decision:
        operands = [_truth(value) for value in inputs]
        if operator.constant is not None:
            holds = np.full_like(operands[0].true, bool(_constant(operator)))
            operands.append(Decision(holds, ~holds, np.zeros_like(holds)))
        return function(operands[0], operands[1])

    return rule


def _truth(value: Known) -> Decision:
    if isinstance(value, Decision):
        return value
    computed = value.value + value.error.symmetric()
    away, zero = (computed.lo > 0) | (computed.hi < 0), (computed.lo == 0) & (computed.hi == 0)
    return Decision(away, zero, np.zeros_like(zero))


def _either(a: Decision, b: Decision) -> Decision:
    return a.negated().both(b.negated()).negated()


DECIDED = ("And", "Not", "Or", "Where", "Xor")
RULES: dict[str, Rule] = {
    "Add": _binary(lambda a, b: a + b),
    "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b),
    "Div": _binary(lambda a, b: a * jet.reciprocal(b)),
    "Sum": _many(lambda a, b: a + b),
    "Max": _many(lambda a, b: jet.extreme(a, b, largest=True)),
    "Min": _many(lambda a, b: jet.extreme(a, b, largest=False)),
    "Less": _binary(_less),
    "LessOrEqual": _binary(_less),
    "Greater": _binary(_greater),
    "GreaterOrEqual": _binary(_greater),
    "Neg": _unary(lambda u: -u),
    "Abs": _unary(lambda u: jet.kinked(u, -1.0, 1.0)),
    "Relu": _unary(lambda u: jet.kinked(u, 0.0, 1.0)),
    "Sigmoid": _unary(jet.sigmoid),
    "Tanh": _unary(jet.tanh),
    "Erf": _unary(jet.error_function),
    "Exp": _unary(jet.exponential),
    "Log": _unary(jet.logarithm),
    "Sqrt": _unary(jet.square_root),
    "Reciprocal": _unary(jet.reciprocal),
    "Softplus": _unary(jet.softplus),
    "Softsign": _unary(lambda u: u * jet.reciprocal(jet.kinked(u, -1.0, 1.0) + u.constant(1.0))),
    "HardSwish": _unary(lambda u: u * jet.clipped(_scaled(u, 1 / 6, exact=False) + u.constant(0.5), 0.0, 1.0)),
    "Mish": _unary(lambda u: u * jet.tanh(jet.softplus(u))),
    "Gelu": _gelu,
    "Pow": _power,
    "LeakyRelu": lambda operator, inputs: jet.kinked(inputs[0], operator.alpha, 1.0),
    "Elu": lambda operator, inputs: _elu(inputs[0], operator.alpha),
    "Swish": lambda operator, inputs: inputs[0] * jet.sigmoid(_scaled(inputs[0], operator.alpha)),
    "Celu": lambda operator, inputs: _elu(inputs[0], operator.alpha, rate=1 / operator.alpha),
    "Selu": lambda operator, inputs: _elu(inputs[0], operator.alpha, operator.gamma),
    "HardSigmoid": lambda operator, inputs: jet.clipped(
        _scaled(inputs[0], operator.alpha) + inputs[0].constant(operator.beta), 0.0, 1.0
    ),
    "Clip": lambda operator, inputs: jet.clipped(
        inputs[0],
        -math.inf if operator.low is None else operator.low,
        math.inf if operator.high is None else operator.high,
    ),
    "ThresholdedRelu": _thresholded,
    "Shrink": _shrink,
    "Sign": _unary(lambda u: _less(u.constant(0.0), u).between(u.constant(1.0), u.constant(-1.0))),
    "Where": _where,
    "And": _connected(lambda a, b: a.both(b)),
    "Or": _connected(_either),
    "Xor": _connected(lambda a, b: _either(a.both(b.negated()), a.negated().both(b))),
    "Not": _not,
}
