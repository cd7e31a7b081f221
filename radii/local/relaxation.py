"""What a linear form becomes on its way back through one node. Formulas: docs/numerics.md 11.2, 11.4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from radii.local.curves import curve
from radii.local.lines import Lines, hinge
from radii.local.network import Step
from radii.local.slack import STEP, TINY, flat_dot, gamma, known, lowered, raised


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
    """Of one node on intervals of its inputs.

    ``output``: the interval of what it makes. ``size``: (N or 1, *shape), times ``loss`` and a form's absolute values
    what rounding may lose of the form on its way back, and of the constant.
    """

    output: Interval
    size: Tensor
    loss: float

    def back(self, forms: Tensor) -> tuple[Sequence[Tensor | None], Tensor]:
        """Forms (N, R, *shape) as forms on the inputs, and the constants (N, R) that come with them."""
        ...


class Linear:
    """A node that is linear, but for a constant. Formulas: docs/numerics.md 11.2."""

    def __init__(self, step: Step, inputs: Sequence[Interval]) -> None:
        self.step, self.loss = step, step.loss
        self.size = raised(step.magnitude([part.size() for part in inputs])) * (1 + self.loss)
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
        lost = 2 * self.loss * (spread + self.step.magnitude([c.abs() for c in centres])) + TINY
        away = raised(spread - self.step.offset_size).clamp(min=0) + lost
        return lowered(made - away), raised(made + away)

    def back(self, forms: Tensor) -> tuple[Sequence[Tensor | None], Tensor]:
        return self.step.transposed(forms), flat_dot(forms, self.step.offset)


class Entrywise:
    """A function of every entry, between two lines."""

    def __init__(self, lines: Lines, given: Interval) -> None:
        self.lines = lines
        self.loss = gamma(lines.lo[0].numel())
        slopes = torch.maximum(lines.below_slope.abs(), lines.above_slope.abs())
        self.size = raised(slopes * given.size()) + torch.maximum(lines.below.abs(), lines.above.abs())
        self.size = raised(self.size)
        self.output = Interval(known(lines.lo, -torch.inf), known(lines.hi, torch.inf))

    def back(self, forms: Tensor) -> tuple[Sequence[Tensor | None], Tensor]:
        lines, up, down = self.lines, forms.clamp(min=0), forms.clamp(max=0)
        made = up * lines.below_slope[:, None] + down * lines.above_slope[:, None]
        return [made], flat_dot(up, lines.below) + flat_dot(down, lines.above)


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
        self.count, self.loss = lo.shape[-1], gamma(lo[0].numel() + sum(part.lo[0].numel() for part in inputs))
        largest = torch.maximum(low.abs(), high.abs())
        self.size = raised(largest + torch.maximum(self.below.abs(), self.above.abs()))
        lowest = lo.amax(-1)
        self.output = Interval(lowest, most) if self.sign > 0 else Interval(-most, -lowest)

    def back(self, forms: Tensor) -> tuple[Sequence[Tensor | None], Tensor]:
        # of the smallest: -max(-x), with the lines of max(-x)
        given = forms * self.sign
        up, down = given.clamp(min=0), given.clamp(max=0)
        constant = flat_dot(up, self.below) + flat_dot(down, self.above)
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
        self.loss = gamma(2 * sum(part.lo[0].numel() for part in inputs) + math.prod(step.shape))
        ends = torch.stack([x.lo * y.lo, x.lo * y.hi, x.hi * y.lo, x.hi * y.hi])
        self.output = Interval(known(lowered(ends.amin(0)), -torch.inf), known(raised(ends.amax(0)), torch.inf))
        x_mid, y_mid = x.lo / 2 + x.hi / 2, y.lo / 2 + y.hi / 2
        self.below = self._nearest([(x.lo, y.lo), (x.hi, y.hi)], x_mid, y_mid, -1)
        self.above = self._nearest([(x.lo, y.hi), (x.hi, y.lo)], x_mid, y_mid, 1)
        most_x, most_y = x.size(), y.size()
        self.size = raised(3 * most_x * most_y)

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

    def back(self, forms: Tensor) -> tuple[Sequence[Tensor | None], Tensor]:
        up, down = forms.clamp(min=0), forms.clamp(max=0)
        constant = flat_dot(up, self.below[2]) + flat_dot(down, self.above[2])
        made = []
        for i in range(2):
            form = up * self.below[i][:, None] + down * self.above[i][:, None]
            made.append(_summed(form, self.step.inputs[i]))
        return made, constant


def _summed(forms: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Forms on what was broadcast from this shape, as forms on that."""
    axes = [i + 2 for i, (n, m) in enumerate(zip(shape, forms.shape[2:], strict=True)) if n != m]
    return forms.sum(dim=axes, keepdim=True) if axes else forms


def relaxed(step: Step, inputs: Sequence[Interval], alpha: Tensor | None = None) -> Relaxation:
    """The relaxation of a step; ``alpha`` as in :func:`radii.local.lines.hinge`."""
    if step.is_linear:
        return Linear(step, inputs)
    if step.sides is not None:
        return Entrywise(hinge(inputs[0].lo, inputs[0].hi, *step.sides, alpha), inputs[0])
    if step.operator.picks:
        return Choice(step, inputs)
    if step.is_product:
        return Product(step, inputs)
    assert step.curve is not None
    return Entrywise(curve(step.curve, inputs[0].lo, inputs[0].hi), inputs[0])
