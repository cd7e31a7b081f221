"""What operators make of affine forms in the entries of one activation: more of them, and atoms.

An *atom* is a function of one form of earlier columns, with slopes in a known interval. ReLU of equal forms is one
atom, that of the opposite form follows from ``relu(-u) = relu(u) - u``; so do the absolute value, leaky ReLU, larger,
smaller and choices between forms that agree where the comparison turns. Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from radii.graph.cone.find import Cone
from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Neg
from radii.graph.ops.elementwise import Additive, Div, Max, Min, Mul, Sum
from radii.graph.ops.pool import GlobalAveragePool
from radii.graph.ops.reduce import ReduceMax, ReduceMean, ReduceMin, ReduceSum
from radii.graph.ops.threshold import Comparison, Where
from radii.graph.rules import Dense, Rule, Slope
from radii.lipschitz.network.forms import (
    FREE,
    MOST_ENTRIES,
    Array,
    Forms,
    added,
    constant,
    equal,
    is_zero,
    keys_of,
    plain,
    single,
    spread,
    stacked,
    taken,
    tidied,
    times,
)
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.rounding import as_float64, gamma

AFFINE = (Additive, Sum, Mul, Div, Neg, ReduceMean, ReduceSum, GlobalAveragePool)
KINKED = (Max, Min, ReduceMax, ReduceMin)


@dataclass(frozen=True, slots=True, eq=False)
class Atoms:
    """Columns of functions of ``forms``, an atom each, whose slopes lie in [low, high]."""

    forms: Forms
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The comparison that holds where forms are positive, and perhaps where they are 0."""

    forms: Forms


@dataclass(slots=True, eq=False)
class Expansion:
    """Forms in a source of ``size`` entries: columns from 0 to size - 1; the columns behind them are atoms."""

    size: int
    atoms: list[Atoms] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """How many there are."""
        return self.size + sum(len(batch.forms.constant) for batch in self.atoms)

    def source(self, shape: Shape) -> Forms:
        """The source itself."""
        return single(shape, np.arange(self.size))

    def apply(self, operator: Operator, inputs: Sequence[Forms | Decision], shape: Shape) -> Forms | Decision:
        """What an operator makes of forms. Raises `NotApplicable` where it is nothing of the kind."""
        if isinstance(operator, Where):
            return self._where(operator, inputs, shape)
        given = [value for value in inputs if isinstance(value, Forms)]
        if len(given) < len(inputs):
            raise NotApplicable(f"{operator.name} takes a decision")
        if isinstance(operator, Comparison):
            return _decision(operator, given, shape)
        if isinstance(operator, Cone):
            return self._cone(operator, given[0])
        if operator.copies:
            return _copied(operator, given, shape)
        if isinstance(operator, Additive | Sum):
            return _added(operator, given, shape)
        if isinstance(operator, Max | Min):
            operands = [spread(value, shape) for value in given]
            if operator.constant is not None:
                operands.append(constant(operator.constant, shape))
            return self._extreme(operands, largest=isinstance(operator, Max))
        if isinstance(operator, ReduceMax | ReduceMin):
            return self._extreme(_groups(given[0], operator.axes, shape), largest=isinstance(operator, ReduceMax))
        if operator.hinge() is not None:
            return self._hinge(given[0], *operator.hinge())  # type: ignore[misc]
        if isinstance(operator, Mul | Div | Neg):
            return _scaled(operator, given, shape)
        rule = operator.lipschitz(given[0].shape)
        if isinstance(rule, Dense):
            return _dense(as_float64(rule.weight), given[0], shape)
        if isinstance(operator, GlobalAveragePool):
            operator = ReduceMean(tuple(range(1, len(given[0].shape))), True)
        if isinstance(operator, ReduceMean | ReduceSum):
            return _reduced(operator, given[0], shape)
        return self._function(rule, given[0])

    def _cone(self, operator: Cone, x: Forms) -> Forms:
        """By its steps, where they are kinks; else as a function of which the slopes are known."""
        if all(is_kinked(step.operator) for step in operator.steps):
            values: list[Forms | Decision] = [x]
            try:
                for step in operator.steps:
                    values.append(self.apply(step.operator, [values[i] for i in step.inputs], x.shape))
            except NotApplicable:
                pass
            else:
                made = values[-1]
                if isinstance(made, Forms):
                    return made
        return self._function(operator.lipschitz(x.shape), x)

    def _where(self, operator: Where, inputs: Sequence[Forms | Decision], shape: Shape) -> Forms:
        given = iter(inputs)
        condition = next(given) if operator.condition is None else None
        if not isinstance(condition, Decision):
            raise NotApplicable("a choice is made by something else than a comparison")
        values = []
        for known in (operator.yes, operator.no):
            value = next(given) if known is None else constant(known, shape)
            if not isinstance(value, Forms):
                raise NotApplicable("a decision is chosen")
            values.append(spread(value, shape))
        yes, no = values
        turn = spread(condition.forms, shape)
        apart = added([(1.0, yes), (-1.0, no)])
        sign = equal(apart, turn) - equal(apart, times(turn, np.array(-1.0)))
        certain = apart.exact & turn.exact & ((sign != 0) | is_zero(apart))
        if not certain.all():
            raise NotApplicable("a choice may jump")
        return added([(1.0, no), (1.0, times(self.relu(turn), sign))])

    def _extreme(self, operands: Sequence[Forms], *, largest: bool) -> Forms:
        result, *others = operands
        for other in others:
            above = self.relu(added([(1.0, result), (-1.0, other)]))
            result = added([(1.0, other), (1.0, above)] if largest else [(1.0, result), (-1.0, above)])
        return result

    def _hinge(self, x: Forms, low: float, high: float) -> Forms:
        rise = np.array(high - low)
        exact = bool(plain(np.array([low, high])).all())
        return added([(1.0, times(x, np.array(low))), (1.0, times(self.relu(x), rise, exact=exact))])

    def relu(self, x: Forms) -> Forms:
        """The positive part of every entry; the least column has a positive coefficient in what it is an atom of."""
        flip = x.exact & (x.coefficients[:, :1].sum(1) < 0)
        turned = times(x, np.where(flip, -1.0, 1.0))
        keys = keys_of(turned)
        columns, start = np.empty(len(keys), np.int64), self.columns
        first: list[int] = []
        for i, (key, exact) in enumerate(zip(keys, x.exact.tolist(), strict=True)):
            column = self.known.get(key) if exact else None
            if column is None:
                column = start + len(first)
                first.append(i)
                if exact:
                    self.known[key] = column
            columns[i] = column
        if first:
            self.atoms.append(Atoms(taken(turned, np.array(first), (len(first),)), 0.0, 1.0))
        return added([(1.0, single(x.shape, columns)), (1.0, times(x, np.where(flip, 1.0, 0.0)))])

    def _function(self, rule: Rule, x: Forms) -> Forms:
        """A function of every entry."""
        if not isinstance(rule, Slope) or rule.interval is None or rule.loss:
            raise NotApplicable("it has a node that makes no forms")
        columns = self.columns + np.arange(len(x.constant))
        self.atoms.append(Atoms(x, *rule.interval))
        return single(x.shape, columns)


def handles(operator: Operator) -> bool:
    """Whether `Expansion.apply` may know what to make of it, dense layers aside."""
    return operator.copies or is_kinked(operator) or operator.entrywise or isinstance(operator, Cone)


def is_kinked(operator: Operator) -> bool:
    """Whether it is piecewise linear, as far as it is known here."""
    return operator.hinge() is not None or isinstance(operator, (*AFFINE, *KINKED, Comparison, Where))


def _decision(operator: Comparison, given: Sequence[Forms], shape: Shape) -> Decision:
    """The comparison of two forms, or of one with a constant."""
    operands = [spread(value, shape) for value in given]
    if operator.constant is not None:
        operands.insert(0 if operator.constant_first else 1, constant(operator.constant, shape))
    first, second = operands
    match operator.name:
        case "Greater" | "GreaterOrEqual":
            return Decision(added([(1.0, first), (-1.0, second)]))
        case "Less" | "LessOrEqual":
            return Decision(added([(1.0, second), (-1.0, first)]))
    raise NotApplicable(f"{operator.name} is no comparison of the larger with the smaller")


def _copied(operator: Operator, given: Sequence[Forms], shape: Shape) -> Forms:
    """Entries of any of the inputs."""
    starts = np.cumsum([0, *(len(x.constant) for x in given)])
    places = [
        torch.arange(start, start + len(x.constant)).reshape(1, *x.shape)
        for start, x in zip(starts.tolist(), given, strict=False)
    ]
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in operator.arrays().items()}
    index = operator.run(places, arrays).reshape(-1).numpy()
    return taken(stacked(given), index, shape)


def _added(operator: Additive | Sum, given: Sequence[Forms], shape: Shape) -> Forms:
    operands = [spread(value, shape) for value in given]
    signs = operator.coefficients() if isinstance(operator, Additive) else (1.0,) * (len(given) + 1)
    if operator.constant is not None:
        place = 0 if isinstance(operator, Additive) and operator.constant_first else len(operands)
        operands.insert(place, constant(operator.constant, shape))
    return added(list(zip(signs, operands, strict=False)))


def _scaled(operator: Operator, given: Sequence[Forms], shape: Shape) -> Forms:
    (x, *others) = given
    if isinstance(operator, Neg):
        return times(x, np.array(-1.0))
    if others or not isinstance(operator, Mul | Div) or operator.constant is None:
        raise NotApplicable("two activations are multiplied")
    factors = np.broadcast_to(operator.constant.astype(np.float64), shape).reshape(-1)
    if isinstance(operator, Mul):
        return times(spread(x, shape), factors)
    if operator.constant_first:
        raise NotApplicable("an activation divides")
    return times(spread(x, shape), 1 / factors, exact=np.abs(np.frexp(factors)[0]) == 0.5)


def _groups(x: Forms, axes: tuple[int, ...], shape: Shape) -> list[Forms]:
    """The entries that a reduction over ``axes`` takes together, each of the shape of what it makes."""
    places = np.moveaxis(np.arange(len(x.constant)).reshape(x.shape), axes, range(-len(axes), 0))
    together = places.reshape(math.prod(shape), -1)
    if together.shape[1] * x.columns.size > MOST_ENTRIES:
        raise NotApplicable("it reduces too many entries")
    return [taken(x, together[:, i], shape) for i in range(together.shape[1])]


def _reduced(operator: ReduceMean | ReduceSum, x: Forms, shape: Shape) -> Forms:
    groups = _groups(x, operator.axes, shape)
    total = added([(1.0, group) for group in groups])
    return times(total, np.array(1 / len(groups))) if isinstance(operator, ReduceMean) else total


def _dense(weight: Array, x: Forms, shape: Shape) -> Forms:
    """A dense layer on the last axis. Its offset is of no interest, since what it makes has been rounded."""
    used = np.unique(x.columns[x.columns != FREE])
    if len(used) * max(len(x.constant), math.prod(shape)) > MOST_ENTRIES:
        raise NotApplicable("its matrix would be too large")
    values, lost = np.zeros((2, len(x.constant), len(used) + 1))
    place = np.searchsorted(used, x.columns)  # those that are free: behind all others
    np.put_along_axis(values, place, x.coefficients, axis=1)
    np.put_along_axis(lost, place, x.lost, axis=1)
    values, lost = (part.reshape(-1, weight.shape[1], len(used) + 1)[:, :, :-1] for part in (values, lost))
    made = (weight @ values).reshape(-1, len(used))
    sizes = np.abs(weight) @ (lost + gamma(weight.shape[1] + 8) * (np.abs(values) + lost))
    moved = sizes.reshape(-1, len(used)) * (1 + gamma(weight.shape[1] + 8))
    n = len(made)
    columns = np.broadcast_to(used, made.shape).copy()
    return tidied(shape, columns, made, moved, np.zeros(n), np.zeros(n, bool))
