"""An activation less its mean, and whatever else is made of it by means over axes, sums and single factors.

Means ``P_A`` over sets A of axes, written back to all entries, are projections that commute: ``P_A P_B = P_(A and B)``.
What is made of them is ``sum_A c_A P_A``, which on the entries that are constant along exactly the axes of E, and have
mean 0 along the others, is the factor ``sum of c_A over A within E``: its norm is the largest of those, for an image of
any size. Formulas: docs/numerics.md 3.10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from radii.graph.operator import Operator, Shape
from radii.graph.ops.activation import Neg
from radii.graph.ops.elementwise import Additive, Div, Mul, Sum
from radii.graph.ops.pool import GlobalAveragePool
from radii.graph.ops.reduce import ReduceMean, ReduceSum
from radii.lipschitz.network.forms import Array
from radii.lipschitz.network.linear import NotApplicable
from radii.lipschitz.rounding import Upper, up

Axes = frozenset[int]


@dataclass(frozen=True, slots=True)
class Means:
    """``sum_A c_A P_A`` of a source, an entry of which stands for all that are equal.

    Attributes:
        size: the sum of what each number was made of: ``2^-45`` of it bounds what rounding lost.
    """

    shape: Shape
    factors: Mapping[Axes, float]
    size: float = 1.0

    def norm(self, source: Shape) -> Upper:
        """The largest of its factors, rounded up."""
        axes = [i for i, n in enumerate(source) if n > 1]
        within = [frozenset(e) for count in range(len(axes) + 1) for e in combinations(axes, count)]
        largest = max(abs(math.fsum(c for a, c in self.factors.items() if a <= e)) for e in within)
        return up(up(largest) + 2.0**-45 * self.size)

    def of(self, x: Array) -> Array:
        """What it makes of inputs (B, *source)."""
        parts = [c * x.mean(axis=tuple(i + 1 for i in sorted(a)), keepdims=True) for a, c in self.factors.items()]
        made: Array = np.broadcast_to(sum(parts, np.zeros(())), x.shape)
        return made


def applied(operator: Operator, inputs: Sequence[Means], source: Shape) -> Means:
    """What an operator makes of them. Raises `NotApplicable`."""
    (x, *_) = inputs
    shape = operator.shape(*(value.shape for value in inputs))
    match operator:
        case Additive() | Sum():
            signs = operator.coefficients() if isinstance(operator, Additive) else (1.0,) * len(inputs)
            if operator.constant is not None and isinstance(operator, Additive) and operator.constant_first:
                signs = signs[1:]
            total: dict[Axes, float] = {}
            for sign, value in zip(signs, inputs, strict=False):
                for a, c in value.factors.items():
                    total[a] = total.get(a, 0.0) + sign * c
            return _checked(shape, total, sum(value.size for value in inputs), source)
        case Neg():
            return _times(x, -1.0)
        case Mul() | Div() if operator.constant is not None and operator.constant.size == 1 and len(inputs) == 1:
            if shape != x.shape or (isinstance(operator, Div) and operator.constant_first):
                raise NotApplicable("it is no factor")
            factor = float(operator.constant.reshape(()))
            return _times(x, factor if isinstance(operator, Mul) else 1 / factor)
        case GlobalAveragePool():
            return applied(ReduceMean(tuple(range(1, len(x.shape))), True), inputs, source)
        case ReduceMean() | ReduceSum():
            if len(x.shape) != len(source):
                raise NotApplicable("its axes are not those of the source")
            gone = frozenset(i for i in operator.axes if source[i] > 1)
            count = math.prod(x.shape[i] for i in operator.axes)
            merged: dict[Axes, float] = {}
            for a, c in x.factors.items():
                merged[a | gone] = merged.get(a | gone, 0.0) + c
            mean = _checked(shape, merged, x.size, source)
            return mean if isinstance(operator, ReduceMean) else _times(mean, float(count))
        case _ if operator.keeps_order:
            return _checked(shape, x.factors, x.size, source)
    raise NotApplicable(f"{operator.name} is no mean")


def _times(x: Means, factor: float) -> Means:
    return Means(x.shape, {a: c * factor for a, c in x.factors.items()}, abs(factor) * x.size)


def _checked(shape: Shape, factors: Mapping[Axes, float], size: float, source: Shape) -> Means:
    """Raises `NotApplicable` unless the shape is the source's, of size 1 along the axes that all is constant along."""
    gone = frozenset.intersection(*factors)
    whole = (1,) * (len(source) - len(shape)) + shape
    if whole != tuple(1 if i in gone else n for i, n in enumerate(source)):
        raise NotApplicable("its axes are not those of the source")
    return Means(shape, factors, size)
