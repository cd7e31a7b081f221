"""Bounds of a network's activations and margins over a region. Formulas: docs/numerics.md 11.1, 11.2 and 11.3.

Interval arithmetic first; where a function's lines depend on its input's interval, that is sharpened by forms that are
taken back to the input, of the entries alone that are not settled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from radii.local.ascent import ascend
from radii.local.network import Network, Step
from radii.local.region import Region
from radii.local.relaxation import Interval, Relaxation, relaxed
from radii.local.slack import STEP, TINY, flat_dot, known, lowered, raised
from radii.norms import Norm

MEMORY = 2**23  # entries of the largest tensor of forms: 64 MiB
REACHES = 2**27  # the same of all forms that are taken back once, of what is linear in the input
CHUNK = 1024

Alphas = Mapping[str, Tensor]
"""The free slopes of hinges, by the activation that they make: (N, *shape), in [0, 1]."""


@dataclass(eq=False)
class Bounds:
    """What is known of a network on a region; filled from the input on.

    Attributes:
        intervals: of each activation.
        relaxations: of each step, by its output.
        unstable: (N,) how many entries of hinges are on both sides of 0.
        fixed: intervals that are taken as they are, instead of being sharpened here.
        splits: (N, *shape) by a hinge's input: 1 where only what is above 0 is looked at, -1: below; 0: all.
        weights: (N, *shape) by the same: how much of ``split z >= 0`` is taken off the forms, none negative.
        ascent: gradient steps for the intervals of inner activations.
    """

    network: Network
    region: Region
    alphas: Alphas = field(default_factory=dict)
    fixed: Mapping[str, Interval] = field(default_factory=dict)
    splits: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    sharpen: bool = True
    ascent: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    relaxations: dict[str, Relaxation] = field(default_factory=dict)
    unstable: Tensor | None = None
    _at_centre: dict[str, Interval] | None = None

    def forward(self) -> Bounds:
        """Fill in everything."""
        network, region = self.network, self.region
        self.intervals[network.relaxed.input] = Interval(region.lo, region.hi)
        self.unstable = torch.zeros(len(region.lo), dtype=torch.int64, device="cpu")
        sharp: set[str] = set()
        for step in network.steps:
            if not step.is_linear:
                for name in step.node.inputs:
                    if name not in sharp:
                        sharp.add(name)
                        self._sharpened(name, step)
            given = [self.intervals[name] for name in step.node.inputs]
            made = relaxed(step, given, self.alphas.get(step.node.output))
            self.relaxations[step.node.output] = made
            self.intervals[step.node.output] = made.output
            if step.sides is not None:
                self.unstable = self.unstable + _open(given[0]).flatten(1).sum(1).cpu()
        return self

    def _sharpened(self, name: str, step: Step) -> None:
        now = self.intervals[name]
        if name in self.fixed:
            now = now.within(self.fixed[name])
        elif self.sharpen and name != self.network.relaxed.input:
            wanted = _open(now) if step.sides is not None and _only_hinges(self.network, name) else now.lo < now.hi
            now = self.backward(name, now, wanted)
        if name in self.splits:
            side = self.splits[name]
            zero = now.lo.new_zeros(())
            now = Interval(
                torch.where(side > 0, now.lo.clamp(min=0), now.lo),
                torch.where(side < 0, torch.minimum(now.hi, zero), now.hi),
            )
        self.intervals[name] = now

    def backward(self, name: str, now: Interval, wanted: Tensor) -> Interval:
        """An interval of an activation, sharpened at the entries that are ``wanted``."""
        n, shape = len(now.lo), now.lo.shape[1:]
        size = math.prod(shape)
        moved = self._affine_ends(name)
        if moved is not None:
            return now.within(moved)
        mask = wanted.reshape(n, size)
        count = mask.sum(1)
        most = int(count.max())
        if not most:
            return now
        index = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
        lo, hi = now.lo.reshape(n, size), now.hi.reshape(n, size)
        width = max([size, *(math.prod(step.shape) for step in self.network.steps[: self.network.position[name] + 1])])
        width = max(width, math.prod(self.network.relaxed.input_shape))
        rows = max(1, MEMORY // (2 * n * width))
        for part in torch.split(index, rows, dim=1):
            forms = lo.new_zeros((n, 2, part.shape[1], size))
            forms[:, 0].scatter_(2, part[:, :, None], 1.0)
            forms[:, 1].scatter_(2, part[:, :, None], -1.0)
            forms = forms.reshape(n, -1, *shape)
            least = self.least(name, forms)
            if self.ascent:
                with self._free():
                    least = ascend(self, name, forms, least, self.ascent)
            least = least.reshape(n, 2, -1)
            lo = lo.scatter(1, part, torch.maximum(lo.gather(1, part), least[:, 0]))
            hi = hi.scatter(1, part, torch.minimum(hi.gather(1, part), -least[:, 1]))
        return Interval(lo.reshape(n, *shape), hi.reshape(n, *shape))

    def least(
        self, name: str, forms: Tensor, *, constants: bool = True, trace: dict[str, Tensor] | None = None
    ) -> Tensor:
        """(N, R) lower bounds of linear forms (N, R, *shape) on an activation over the region, rounding included.

        Without ``constants``: as if what is added anywhere were 0, of what is linear in the input. ``trace`` gets the
        forms on what every step makes, and on the input.
        """
        network, region = self.network, self.region
        start = network.relaxed.input
        pending = {name: forms}
        total = forms.new_zeros(len(region.lo), forms.shape[1])
        lost = torch.zeros_like(total)
        for step in reversed(network.steps[: network.position.get(name, -1) + 1]):
            form = pending.pop(step.node.output, None)
            if form is None:
                continue
            if step.node.output in self.weights and step.node.output in self.splits:
                cut = (self.weights[step.node.output] * self.splits[step.node.output])[:, None]
                form = form - cut
                lost = lost + STEP * flat_dot(form.abs(), self.intervals[step.node.output].size())
            if trace is not None:
                trace[step.node.output] = form
            relaxation = self.relaxations[step.node.output]
            lost = lost + relaxation.loss * flat_dot(form.abs(), relaxation.size)
            back, constant = relaxation.back(form)
            if not constants:
                constant = torch.zeros_like(constant)
            total = total + constant
            lost = lost + 4 * STEP * (total.abs() + constant.abs())
            for source, part in zip(step.node.inputs, back, strict=True):
                if part is None:
                    continue
                sizes = self.intervals[source].size()
                lost = lost + TINY * (1 + sizes.flatten(1).sum(1, keepdim=True))
                if source in pending:
                    part = pending[source] + part
                    lost = lost + STEP * flat_dot(part.abs(), sizes)
                pending[source] = part
        if trace is not None:
            trace[start] = pending.get(start, total.new_zeros(*total.shape, *region.lo.shape[1:]))
        if start in pending:
            at_input, rounding = region.least(pending[start])
            total, lost = total + at_input, lost + rounding + 4 * STEP * (total.abs() + at_input.abs())
        made = total - lost * (1 + 2.0**-20)
        return known(made - (made.abs() * STEP + TINY), -torch.inf)

    def at_input(self, name: str, forms: Tensor) -> tuple[Tensor, float]:
        """About what one form (1, 1, *shape) is as a form on the distance from the centre, and its value there."""
        trace: dict[str, Tensor] = {}
        least = self.least(name, forms, trace=trace)
        form = trace[self.network.relaxed.input]
        return form[0, 0], float(least) - float(self.region.least(form)[0]) + float(
            (form[0, 0] * self.region.centre[0]).sum()
        )

    def hinge_slopes(self, name: str) -> dict[str, Tensor]:
        """The free slopes of the hinges in front of an activation, or what they are by default."""
        found = {}
        for step in self.network.steps[: self.network.position.get(name, -1) + 1]:
            if step.sides is not None:
                given, out = self.intervals[step.node.inputs[0]], step.node.output
                found[out] = self.alphas[out] if out in self.alphas else (given.hi > -given.lo).to(given.lo.dtype)
        return found

    def with_slopes(self, slopes: Alphas, weights: Mapping[str, Tensor]) -> Bounds:
        """The same with other free slopes, and weights of cuts where any are given."""
        relaxations = dict(self.relaxations)
        for step in self.network.steps:
            if step.node.output in slopes and step.node.output in relaxations:
                given = [self.intervals[name] for name in step.node.inputs]
                relaxations[step.node.output] = relaxed(step, given, slopes[step.node.output])
        return replace(self, alphas=slopes, weights=weights or self.weights, relaxations=relaxations)

    def adopt(self, slopes: Alphas, weights: Mapping[str, Tensor]) -> None:
        """Go on with these."""
        self.relaxations = self.with_slopes(slopes, weights).relaxations
        self.alphas, self.weights = {**self.alphas, **slopes}, {**self.weights, **weights}

    @contextmanager
    def _free(self) -> Iterator[None]:
        """Slopes found within are forgotten: those of one activation's intervals are not those of another's."""
        alphas, weights, relaxations = self.alphas, self.weights, self.relaxations
        yield
        self.alphas, self.weights, self.relaxations = alphas, weights, relaxations

    def rows(self, chosen: Tensor) -> Bounds:
        """The same of some samples, or of the same samples several times; intervals as they are."""
        fixed = {name: Interval(part.lo[chosen], part.hi[chosen]) for name, part in self.intervals.items()}
        parts = ({name: part[chosen] for name, part in given.items()} for given in (self.alphas, self.splits))
        alphas, splits = parts
        return Bounds(self.network, self.region.rows(chosen), alphas, fixed, splits).forward()

    def _affine_ends(self, name: str) -> Interval | None:
        """Of what is linear in the input, over a ball: its value at the centre, and ``eps`` times what it moves by."""
        region = self.region
        if region.norm is None or region.eps is None or name not in self.network.affine:
            return None
        reach = affine_reach(self.network, name, region.norm)
        if reach is None:
            return None
        if self._at_centre is None:
            point = Region.box(region.centre, region.centre)
            self._at_centre = Bounds(self.network, point, sharpen=False).affine()
        at, eps = self._at_centre[name], region.eps.reshape(-1, *[1] * reach.ndim)
        moved = raised(eps * reach)
        return Interval(lowered(at.lo - moved), raised(at.hi + moved))

    def affine(self) -> dict[str, Interval]:
        """The intervals of what is linear in the input, by interval arithmetic."""
        self.intervals[self.network.relaxed.input] = Interval(self.region.lo, self.region.hi)
        for step in self.network.steps:
            if step.node.output in self.network.affine:
                made = relaxed(step, [self.intervals[name] for name in step.node.inputs])
                self.relaxations[step.node.output], self.intervals[step.node.output] = made, made.output
        return self.intervals


def affine_reach(network: Network, name: str, norm: Norm) -> Tensor | None:
    """(*shape) what each entry of an activation that is linear in the input moves by, at most, where the input moves by
    1; None: that takes too much."""
    shape = network.relaxed.shapes[name]
    size, width = math.prod(shape), math.prod(network.relaxed.input_shape)
    if (name, norm) not in network.reaches:
        found = None
        if size * max(size, width) <= REACHES:
            zero = torch.zeros((1, *network.relaxed.input_shape), dtype=torch.float64, device=network.device)
            bounds = Bounds(network, Region.ball(zero, torch.ones(1, dtype=torch.float64, device=network.device), norm))
            bounds.affine()
            eye = torch.eye(size, dtype=torch.float64, device=network.device).reshape(1, size, *shape)
            with torch.no_grad():
                parts = [bounds.least(name, part, constants=False)[0] for part in torch.split(eye, CHUNK, dim=1)]
            found = -torch.cat(parts).reshape(shape)
        network.reaches[name, norm] = found
    return network.reaches[name, norm]


def _open(interval: Interval) -> Tensor:
    return (interval.lo < 0) & (interval.hi > 0)


def _only_hinges(network: Network, name: str) -> bool:
    """Whether all nonlinear nodes that read an activation are hinges: what is on one side of 0 is settled then."""
    return all(step.sides is not None or step.is_linear for step in network.steps if name in step.node.inputs)


def margin_forms(labels: Tensor, classes: int) -> Tensor:
    """(N, classes, classes) forms ``z_y - z_j``; at j = y the form 0."""
    eye = torch.eye(classes, dtype=torch.float64, device=labels.device)
    return eye[labels][:, None, :] - eye[None]
