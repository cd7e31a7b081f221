"""Expressions: several operators, each of which acts on every entry alone, on a `Jet`.

An expression is a tuple of `Step`; the value 0 is its variable, the value i what step i makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from radii.graph.cone import jet
from radii.graph.cone.decision import Decision
from radii.graph.cone.jet import Jet
from radii.graph.operator import Operator


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
    values: list[Jet | Decision] = [x]
    for step in steps:
        inputs = [values[i] for i in step.inputs]
        if not step.operator.takes_decisions:  # a truth value is a number, 0 or 1
            inputs = [value.between(one, zero) if isinstance(value, Decision) else value for value in inputs]
        made = step.operator.on_cells(*inputs)
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
    """Whether an operator acts on every entry alone, as a function that it states, its constants single numbers."""
    return operator.has_cells and all(array.size == 1 for array in operator.arrays().values())
