"""What a linear form becomes on its way back through one node. Formulas: docs/numerics.md 11.2, 11.4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from radii.local.curves import curve
from radii.local.lines import Free, Lines, hinge
from radii.local.network import Step
from radii.local.slack import STEP, TINY, flat_dot, gamma, known, lowered, raised

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """(N, *shape) ends between which an activation lies."""

    lo: Tensor
    hi: Tensor

    def size(self) -> Tensor:
        """How large it is at most; infinite where an end is."""
        return torch.maximum(self.lo.abs(), self.hi.abs())

    def within(self, other: Interval) -> Interval:
        """What both say."""
        return Interval(torch.fmax(self.lo, other.lo), torch.fmin(self.hi, other.hi))  # not what is no number


class Relaxation(Protocol):
    """Of one node on intervals of its inputs. ``output``: the interval of what it makes."""

    output: Interval

    def back(self, forms: Tensor, alpha: Tensor | None = None) -> tuple[Sequence[Tensor | None], Tensor]:
        """Forms (N, R, *shape) as forms on the inputs, and the constants (N, R) that come with them, less what rounding
        may lose of both; ``alpha`` as in :class:`Entrywise`."""
        ...


class Linear:
    """A node that is linear, but for a constant. Formulas: docs/numerics.md 11.2.

    ``slack``: (N, *shape), times a form's absolute values what rounding may lose of it.
    """

    def __init__(self, step: Step, inputs: Sequence[Interval]) -> None:
        self.step = step
        self.slack = step.loss * (raised(step.magnitude([part.size() for part in inputs])) * (1 + step.loss))
        if step.operator.copies:
            run = step.operator.run
            ends = run([part.lo for part in inputs], step.arrays), run([part.hi for part in inputs], step.arrays)
        else:
            ends = self._ends(inputs)
        self.output = Interval(known(ends[0], -torch.inf), known(ends[1], torch.inf))

    def _ends(self, inputs: Sequence[Interval]) -> tuple[Tensor, Tensor]:
        centres = [part.lo / 2 + part.hi / 2 for part in inputs]
        reach = [raised(torch.maximum(part.hi - c, c - part.lo)) for part, c in zip(inputs, centres, strict=True)]
        made = self.step.operator.run(centres, self.step.arrays)
        spread = self.step.magnitude(reach)
        lost = 2 * self.step.loss * (spread + self.step.magnitude([c.abs() for c in centres])) + TINY
        away = raised(spread - self.step.offset_size).clamp(min=0) + lost
        return lowered(made - away), raised(made + away)

    def back(self, forms: Tensor, alpha: Tensor | None = None) -> tuple[Sequence[Tensor | None], Tensor]:
        constant = -flat_dot(forms.abs(), self.slack)
        if self.step.has_offset:
            constant = constant + flat_dot(forms, self.step.offset)
        return self.step.transposed(forms), constant


class Entrywise:
    """A function of every entry, between two lines.

    Of lower slopes a and upper ones c, forms A become ``A (a + c) / 2 + |A| (a - c) / 2``; the same of intercepts.
    ``alpha``, (N, R or 1, *shape) in [0, 1], are other slopes of the lines that are free.
    """

    def __init__(self, lines: Lines, given: Interval) -> None:
        largest = torch.maximum(lines.below_slope.abs(), lines.above_slope.abs())
        if lines.free is not None:  # both halves move by as much, and the line that is not free with them
            largest = torch.maximum(largest, lines.free.range_.abs())
        size = raised(raised(largest * given.size()) + torch.maximum(lines.below.abs(), lines.above.abs()))
        self.free = lines.free
        self.slope, self.half_slope = _middle(lines.below_slope, lines.above_slope)
        self.constant, self.half_constant = _middle(lines.below, lines.above)
        self.half_constant = self.half_constant - gamma(size[0].numel()) * size
        self.output = Interval(known(lines.lo, -torch.inf), known(lines.hi, torch.inf))

    def back(self, forms: Tensor, alpha: Tensor | None = None) -> tuple[Sequence[Tensor | None], Tensor]:
        slope, half, sizes = self.slope[:, None], self.half_slope[:, None], forms.abs()
        if alpha is not None and self.free is not None:
            moved = (alpha - self.free.alpha[:, None]) * (self.free.range_ / 2)[:, None]
            slope, half = slope + moved, half + torch.where(self.free.below[:, None], moved, -moved)
        made = torch.addcmul(forms * slope, sizes, half)
        return [made], flat_dot(forms, self.constant) + flat_dot(sizes, self.half_constant)


def _middle(below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    return below / 2 + above / 2, below / 2 - above / 2


class Choice:
    """The largest (or smallest) of some entries: at least the one of the largest lower bound.

    Above, it is the larger of that one, z, and of what all others are at most, M: the chord of max(z, M).
    """

    def __init__(self, step: Step, inputs: Sequence[Interval]) -> None:
        self.step, self.sign = step, step.operator.picks
        operator, arrays = step.operator, step.arrays
        ends = [
            operator.choices([getattr(part, end) for part in inputs], arrays, -torch.inf * self.sign)
            for end in ("lo", "hi")
        ]
        lo, hi = ends if self.sign > 0 else (-ends[1], -ends[0])
        lo, hi = known(lo, -torch.inf), torch.where(hi.isnan(), torch.inf, hi)
        self.best = lo.argmax(-1, keepdim=True)
        low, high = (end.gather(-1, self.best)[..., 0] for end in (lo, hi))
        rest = hi.scatter(-1, self.best, -torch.inf).amax(-1)
        others = torch.where(rest == -torch.inf, low, rest)
        most = torch.maximum(high, others)
        single, settled, beaten = low == high, low >= others, high <= others
        width = torch.where(settled | beaten, 1.0, high - low)
        slope = ((high - others) / width).clamp(0, 1)
        over = torch.maximum(others - slope * low, high - slope * high)
        over = over + 8 * STEP * (others.abs() + low.abs() + high.abs()) + TINY
        zero, one = torch.zeros_like(low), torch.ones_like(low)
        self.below_slope = torch.where(single, zero, one)
        self.below = torch.where(single, low, zero)
        self.above_slope = torch.where(settled & ~single, one, torch.where(beaten | single, zero, slope))
        self.above = torch.where(settled & ~single, zero, torch.where(beaten | single, most, over))
        self.count = lo.shape[-1]
        loss = gamma(lo[0].numel() + sum(part.lo[0].numel() for part in inputs))
        largest = torch.maximum(low.abs(), high.abs())
        self.slack = loss * raised(largest + torch.maximum(self.below.abs(), self.above.abs()))
        lowest = lo.amax(-1)
        self.output = Interval(lowest, most) if self.sign > 0 else Interval(-most, -lowest)

    def back(self, forms: Tensor, alpha: Tensor | None = None) -> tuple[Sequence[Tensor | None], Tensor]:
        # of the smallest: -max(-x), with the lines of max(-x)
        given = forms * self.sign
        up, down = given.clamp(min=0), given.clamp(max=0)
        constant = flat_dot(up, self.below) + flat_dot(down, self.above) - flat_dot(forms.abs(), self.slack)
        weight = (up * self.below_slope[:, None] + down * self.above_slope[:, None]) * self.sign
        n, rows = forms.shape[:2]
        index = self.best[:, None].expand(n, rows, *self.best.shape[1:])
        spread = weight.new_zeros((*weight.shape, self.count)).scatter(-1, index, weight[..., None])
        with torch.enable_grad():
            zeros = [forms.new_zeros((n * rows, *shape), requires_grad=True) for shape in self.step.inputs]
            made = self.step.operator.choices(zeros, self.step.arrays, 0.0)
            back = torch.autograd.grad(made, zeros, spread.flatten(0, 1), create_graph=spread.requires_grad)
        return [part.reshape(n, rows, *part.shape[1:]) for part in back], constant


class Product:
    """A product of two activations, between McCormick's planes.

    ``(x - a)(y - b) >= 0`` where a and b are both lower or both upper ends: ``x y >= b x + a y - a b``; with one of
    each, ``x y <= b x + a y - a b``.
    """

    def __init__(self, step: Step, inputs: Sequence[Interval]) -> None:
        self.step = step
        x, y = inputs
        loss = gamma(2 * sum(part.lo[0].numel() for part in inputs) + math.prod(step.shape))
        ends = torch.stack([x.lo * y.lo, x.lo * y.hi, x.hi * y.lo, x.hi * y.hi])
        self.output = Interval(known(lowered(ends.amin(0)), -torch.inf), known(raised(ends.amax(0)), torch.inf))
        x_mid, y_mid = x.lo / 2 + x.hi / 2, y.lo / 2 + y.hi / 2
        self.below = self._nearest([(x.lo, y.lo), (x.hi, y.hi)], x_mid, y_mid, -1)
        self.above = self._nearest([(x.lo, y.hi), (x.hi, y.lo)], x_mid, y_mid, 1)
        most_x, most_y = x.size(), y.size()
        self.slack = loss * raised(3 * most_x * most_y)

    def _nearest(
        self, corners: Sequence[tuple[Tensor, Tensor]], x: Tensor, y: Tensor, side: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(slope in x, slope in y, constant) of the plane that is nearer in the middle."""
        planes = []
        for a, b in corners:
            a, b = a + torch.zeros_like(b), b + torch.zeros_like(a)  # broadcast
            lost = 4 * STEP * (a * b).abs() + TINY
            planes.append((b, a, -a * b + side * lost))
        heights = [p[0] * x + p[1] * y + p[2] for p in planes]
        first = heights[0] * side <= heights[1] * side
        s, t, c = (torch.where(first, p, q) for p, q in zip(*planes, strict=True))
        return s, t, c

    def back(self, forms: Tensor, alpha: Tensor | None = None) -> tuple[Sequence[Tensor | None], Tensor]:
        up, down = forms.clamp(min=0), forms.clamp(max=0)
        constant = flat_dot(up, self.below[2]) + flat_dot(down, self.above[2]) - flat_dot(forms.abs(), self.slack)
        made = []
        for i in range(2):
            form = up * self.below[i][:, None] + down * self.above[i][:, None]
            made.append(_summed(form, self.step.inputs[i]))
        return made, constant


def _summed(forms: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Forms on what was broadcast from this shape, as forms on that."""
    axes = [i + 2 for i, (n, m) in enumerate(zip(shape, forms.shape[2:], strict=True)) if n != m]
    return forms.sum(dim=axes, keepdim=True) if axes else forms


def of_samples(value: T, chosen: Tensor | slice) -> T:
    """The same of some samples: a relaxation, or what it is made of."""
    if isinstance(value, Tensor):
        return cast(T, value[chosen] if len(value) > 1 else value)
    if isinstance(value, tuple):
        return cast(T, tuple(of_samples(part, chosen) for part in value))
    if isinstance(value, Interval | Free):
        parts = {part.name: of_samples(getattr(value, part.name), chosen) for part in fields(value)}
        return replace(value, **parts)
    if isinstance(value, Linear | Entrywise | Choice | Product):
        made = copy(value)
        vars(made).update({name: of_samples(part, chosen) for name, part in vars(value).items()})
        return made
    return value


def relaxed(step: Step, inputs: Sequence[Interval]) -> Relaxation:
    """The relaxation of a step."""
    if step.is_linear:
        return Linear(step, inputs)
    if step.sides is not None:
        return Entrywise(hinge(inputs[0].lo, inputs[0].hi, *step.sides), inputs[0])
    if step.operator.picks:
        return Choice(step, inputs)
    if step.is_product:
        return Product(step, inputs)
    assert step.curve is not None
    return Entrywise(curve(step.curve, inputs[0].lo, inputs[0].hi), inputs[0])
