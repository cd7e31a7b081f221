"""What keeps the order of the classes: what is known of a value at the end of a classifier, operator by operator.

Let z be the logits. A value with an entry a class is `Ordered` where, at each input, entry i is ``h(z_i)``, with one h
for all classes (another one at another input, where it holds a sum over the classes, say) that nowhere falls, or
nowhere rises, and takes its value at the largest logit at no smaller one. So the largest entries are those of the
largest logits, ties and all, which is what decides. A value is `Shared` where it is one number for all classes.

This is about real numbers, of which ranges are closed intervals, rounded outward. What is undefined somewhere in the
range of what it is of, like a logarithm, is not known.
"""

import math
from collections.abc import Sequence
from functools import reduce as folded
from typing import NamedTuple

import numpy as np

from radii.graph.ir import Node
from radii.graph.operator import Operator, Shape
from radii.graph.ops import activation, elementwise, layout, normalization, parametric, reduce, trigonometry


class Range(NamedTuple):
    """Where a real number lies: in [low, high], and not at 0 where ``nonzero``."""

    low: float = -math.inf
    high: float = math.inf
    nonzero: bool = False

    @property
    def sign(self) -> int:
        """1: it is positive; -1: it is negative; 0: neither is certain."""
        if self.low > 0 or (self.low == 0 and self.nonzero):
            return 1
        return -1 if self.high < 0 or (self.high == 0 and self.nonzero) else 0


EVERYTHING, POSITIVE, NEGATIVE = Range(), Range(0.0, math.inf, nonzero=True), Range(-math.inf, 0.0, nonzero=True)
UNIT, SYMMETRIC = Range(0.0, 1.0, nonzero=True), Range(-1.0, 1.0)


class Shared(NamedTuple):
    """One number for all classes; ``total_of``: the value whose entries it is the sum of, where it is one."""

    range: Range = EVERYTHING
    total_of: str = ""


class Ordered(NamedTuple):
    """An entry a class, in the order of the logits (``rising``) or in the opposite one.

    ``probabilities``: the entries are positive and add up to 1.
    """

    range: Range = EVERYTHING
    rising: bool = True
    probabilities: bool = False


Known = Shared | Ordered

INCREASING: dict[type[Operator], Range] = {  # strictly, on the whole real line: the range of what they make
    activation.Sigmoid: UNIT,
    activation.Tanh: SYMMETRIC,
    activation.Softsign: SYMMETRIC,
    activation.Erf: SYMMETRIC,
    activation.Softplus: POSITIVE,
    activation.Exp: POSITIVE,
    trigonometry.Atan: Range(-2.0, 2.0),
    trigonometry.Sinh: EVERYTHING,
    trigonometry.Asinh: EVERYTHING,
    parametric.Celu: EVERYTHING,
}


def known(node: Node, inputs: Sequence[Known | None], shapes: Sequence[Shape], output: Shape) -> Known | None:
    """What is known of the output of a node, given what is known of its inputs, of these shapes; None: nothing."""
    operator, given = node.operator, [value for value in inputs if value is not None]
    if not given or len(given) < len(inputs):
        return None
    if isinstance(operator, elementwise.Binary | elementwise.Sum | elementwise.Extreme):
        return _combined(operator, given, node.inputs, math.prod(output))
    if len(given) > 1:
        return None
    (value,), (shape,), entries = given, shapes, math.prod(output)
    match operator:
        case layout.Reshape() | layout.Identity():
            return value
        case layout.Transpose():
            moved = [axis for axis in operator.permutation if shape[axis] != 1]
            return value if moved == sorted(moved) else None
        case normalization.Softmax():
            along = math.prod(shape[operator.axis :]) if operator.trailing else shape[operator.axis]
            if not isinstance(value, Ordered) or along != entries:
                return None
            logarithm = isinstance(operator, normalization.LogSoftmax)
            return Ordered(Range(high=0.0) if logarithm else UNIT, value.rising, probabilities=not logarithm)
        case reduce.Reduction():
            return _reduced(operator, value.range, node.inputs[0]) if entries == 1 else None
    if operator.name in ("Expand", "Tile"):
        return value if isinstance(value, Shared) or entries == math.prod(shape) else None
    return _mapped(operator, value, entries)


def _reduced(operator: reduce.Reduction, of: Range, name: str) -> Known | None:
    """One number made of all entries."""
    match operator:
        case reduce.ReduceMax() | reduce.ReduceMin() | reduce.ReduceMean():
            return Shared(of._replace(nonzero=of.sign != 0))
        case reduce.ReduceSum():
            return Shared(POSITIVE if of.sign > 0 else Range(0.0) if of.low >= 0 else EVERYTHING, name)
        case reduce.ReduceL1() | reduce.ReduceL2() | reduce.ReduceSumSquare():
            return Shared(Range(0.0, nonzero=of.sign != 0))
        case reduce.ReduceLogSumExp():
            return Shared()
    return None


def _mapped(operator: Operator, value: Known, entries: int) -> Known | None:
    """The same function of every entry."""
    low, high, nonzero = value.range
    sign = value.range.sign
    made = INCREASING.get(type(operator))
    if made is not None:
        return _moved(value, made)
    match operator:
        case activation.Relu():
            return _clipped(value, 0.0, None, entries)
        case parametric.Clip():
            return _clipped(value, operator.low, operator.high, entries)
        case parametric.HardSigmoid():
            line = _plus(_times(value, _number(operator.alpha)), _number(operator.beta))
            return None if line is None else _clipped(line, 0.0, 1.0, entries)
        case activation.Neg():
            return _negated(value)
        case activation.Abs() if low >= 0 or high <= 0:
            return value if low >= 0 else _negated(value)
        case activation.Log() if sign > 0:
            return _moved(value, EVERYTHING)
        case activation.Sqrt() if low >= 0:
            return _moved(value, Range(0.0, nonzero=nonzero))
        case activation.Reciprocal():
            return _reciprocal(value)
        case parametric.Pow(exponent=exponent):
            if exponent > 0 and (low >= 0 or exponent % 2 == 1):
                return _moved(value, Range(0.0, nonzero=nonzero) if low >= 0 else EVERYTHING)
            return _moved(value, POSITIVE, rising=False) if exponent < 0 and sign > 0 else None
        case parametric.LeakyRelu(alpha=alpha) | parametric.Elu(alpha=alpha) if alpha > 0:
            return _moved(value, EVERYTHING)
        case parametric.Selu() if operator.alpha > 0 and operator.gamma > 0:
            return _moved(value, EVERYTHING)
        case parametric.PRelu(slope=slope) if np.all(slope == slope.flat[0]) and slope.flat[0] > 0:
            return _moved(value, EVERYTHING)
    return None


def _combined(
    operator: elementwise.Binary | elementwise.Sum | elementwise.Extreme,
    given: list[Known],
    names: Sequence[str],
    entries: int,
) -> Known | None:
    """Arithmetic on several values, of which one may be a constant."""
    operands: list[Known | None] = list(given)
    if operator.constant is not None:
        first = isinstance(operator, elementwise.Binary) and operator.constant_first
        operands.insert(0 if first else len(operands), _constant(operator.constant))
    match operator:
        case elementwise.Add() | elementwise.Sum():
            return folded(_plus, operands)
        case elementwise.Sub():
            return _plus(operands[0], _negated(operands[1]))
        case elementwise.Mul():
            return _times(*operands)
        case elementwise.Div():
            value, divisor = operands
            if isinstance(value, Ordered) and isinstance(divisor, Shared) and divisor.total_of == names[0]:
                return Ordered(UNIT, value.rising, probabilities=True) if value.range.sign > 0 else None
            return _times(value, _reciprocal(divisor))
        case elementwise.Max() | elementwise.Min() if operator.constant is not None and len(given) == 1:
            if (limit := _constant(operator.constant)) is None:
                return None
            low, high = limit.range.low, limit.range.high
            if isinstance(operator, elementwise.Max):
                return _clipped(given[0], low, None, entries)
            return _clipped(given[0], None, high, entries)
    return None


def _constant(array: np.ndarray) -> Shared | None:
    """One number for all classes, or None."""
    number = float(array.flat[0])
    return _number(number) if math.isfinite(number) and np.all(array == array.flat[0]) else None


def _number(value: float) -> Shared:
    return Shared(Range(value, value, value != 0))


def _moved(value: Known, to: Range, *, rising: bool = True) -> Known:
    """A strictly monotone function of it."""
    return Shared(to) if isinstance(value, Shared) else Ordered(to, value.rising == rising)


def _negated(value: Known | None) -> Known | None:
    if value is None:
        return None
    low, high, nonzero = value.range
    return _moved(value, Range(-high, -low, nonzero), rising=False)


def _reciprocal(value: Known | None) -> Known | None:
    if value is None or not value.range.sign:
        return None
    return _moved(value, POSITIVE if value.range.sign > 0 else NEGATIVE, rising=False)


def _plus(a: Known | None, b: Known | None) -> Known | None:
    if a is None or b is None:
        return None
    low, high, _ = _outward(a.range.low + b.range.low, a.range.high + b.range.high)
    signs = a.range.sign, b.range.sign
    if min(a.range.low, b.range.low) >= 0:
        made = Range(max(low, 0.0), high, 1 in signs)
    elif max(a.range.high, b.range.high) <= 0:
        made = Range(low, min(high, 0.0), -1 in signs)
    else:
        made = Range(low, high)
    if isinstance(a, Shared):
        return Shared(made) if isinstance(b, Shared) else Ordered(made, b.rising)
    return Ordered(made, a.rising) if isinstance(b, Shared) or a.rising == b.rising else None


def _times(a: Known | None, b: Known | None) -> Known | None:
    if a is None or b is None:
        return None
    products = [x * y if x and y else 0.0 for x in a.range[:2] for y in b.range[:2]]
    (low, high, _), sign = _outward(min(products), max(products)), a.range.sign * b.range.sign
    made = Range(max(low, 0.0) if sign > 0 else low, min(high, 0.0) if sign < 0 else high, sign != 0)
    if isinstance(a, Shared):
        a, b = b, a
    if isinstance(a, Shared):
        return Shared(made)
    if isinstance(b, Shared):
        return Ordered(made, a.rising == (b.range.sign > 0)) if b.range.sign else None
    return Ordered(made, a.rising) if a.range.sign == b.range.sign == 1 and a.rising == b.rising else None


def _outward(low: float, high: float) -> Range:
    return Range(math.nextafter(low, -math.inf), math.nextafter(high, math.inf))


def _clipped(value: Known, low: float | None, high: float | None, classes: int) -> Known | None:
    """Between two limits, where it makes no tie at the top: entries beyond a limit become equal."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    if low <= value.range.low and value.range.high <= high:
        return value  # there is nothing to cut
    made = Range(min(max(value.range.low, low), high), min(max(value.range.high, low), high))
    if isinstance(value, Shared):
        return Shared(made)
    # The largest of K probabilities is 1/K at least, and every smaller one is below 1/2.
    decided = value.probabilities and value.rising and high >= 0.5 and low < 1 / classes
    return Ordered(made) if decided else None
