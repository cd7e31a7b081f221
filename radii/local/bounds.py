"""Bounds of a network's activations and margins over a region. Formulas: docs/numerics.md 11.1, 11.2 and 11.3.

Interval arithmetic first; where a function's lines depend on its input's interval, that is sharpened by forms that are
taken back to the input, of the entries alone that are not settled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from radii.local.affine import FirstMap, affine_intervals, affine_reach, first_map
from radii.local.ascent import ascend
from radii.local.network import Network, Step
from radii.local.region import Region
from radii.local.relaxation import Entrywise, Interval, Relaxation, of_samples, relaxed
from radii.local.slack import STEP, TINY, flat_dot, gamma, known, lowered, raised

MEMORY = 2**23  # entries of the largest tensor of forms: 64 MiB
CACHE = 2**16  # the same of those that do not leave a processor's cache between two operations

Alphas = Mapping[str, Tensor]
"""The free slopes of hinges, by the activation that they make: (N, R or 1, *shape), in [0, 1]."""


@dataclass(eq=False)
class Bounds:
    """What is known of a network on a region; filled from the input on.

    Attributes:
        intervals: of each activation.
        relaxations: of each step, by its output.
        unstable: (N,) how many entries of hinges are on both sides of 0.
        fixed: intervals that are taken as they are, instead of being sharpened here.
        outer: intervals that hold, and are sharpened here.
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
    outer: Mapping[str, Interval] = field(default_factory=dict)
    sharpen: bool = True
    ascent: int = 0
    intervals: dict[str, Interval] = field(default_factory=dict)
    relaxations: dict[str, Relaxation] = field(default_factory=dict)
    unstable: Tensor | None = None
    _underflow: dict[str, Tensor] = field(default_factory=dict)
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
            made = relaxed(step, given)
            self.relaxations[step.node.output] = made
            self.intervals[step.node.output] = made.output
            read = torch.cat([part.size().flatten(1) for part in given], dim=1).sum(1, keepdim=True)
            self._underflow[step.node.output] = TINY * (len(given) + read)
            if step.sides is not None:
                self.unstable = self.unstable + _open(given[0]).flatten(1).sum(1).cpu()
        return self

    def _sharpened(self, name: str, step: Step) -> None:
        now = self.intervals[name]
        if name in self.outer:
            now = now.within(self.outer[name])
        if name in self.fixed:
            now = now.within(self.fixed[name])
        moved = self._affine_ends(name)
        if moved is not None:
            now = now.within(moved)
        elif name not in self.fixed and self.sharpen and name != self.network.relaxed.input:
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
        mask = wanted.reshape(n, size)
        order = mask.sum(1).argsort(descending=True, stable=True)
        some, mask = self.samples(order, name), mask[order]
        count = mask.sum(1)
        index = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        lo, hi = (end.reshape(n, size)[order] for end in (now.lo, now.hi))
        start, most = 0, int(count[0])
        while start < most:
            k = int((count > start).sum())  # samples of which entries are left
            one = some.samples(slice(k), name)
            part = index[:k, start : start + self._together(name, k)]
            start += part.shape[1]
            forms = lo.new_zeros((k, 2, part.shape[1], size))
            forms[:, 0].scatter_(2, part[:, :, None], 1.0)
            forms[:, 1].scatter_(2, part[:, :, None], -1.0)
            forms = forms.reshape(k, -1, *shape)
            least = one.least(name, forms)
            if self.ascent:
                least = ascend(one, name, forms, least, self.ascent)
            least = torch.where(mask[:k].gather(1, part)[:, None], least.reshape(k, 2, -1), -torch.inf)
            lo[:k] = lo[:k].scatter(1, part, torch.maximum(lo[:k].gather(1, part), least[:, 0]))
            hi[:k] = hi[:k].scatter(1, part, torch.minimum(hi[:k].gather(1, part), -least[:, 1]))
        back = order.argsort()
        return Interval(lo[back].reshape(n, *shape), hi[back].reshape(n, *shape))

    def samples(self, chosen: Tensor | slice, name: str) -> Bounds:
        """What is known of some samples as far as an activation."""
        steps = self.network.steps[: self.network.position[name] + 1]
        made = [step.node.output for step in steps]
        return replace(
            self,
            region=self.region.rows(chosen),
            intervals={key: of_samples(part, chosen) for key, part in self.intervals.items()},
            relaxations={key: of_samples(self.relaxations[key], chosen) for key in made},
            alphas={key: of_samples(part, chosen) for key, part in self.alphas.items()},
            weights={key: of_samples(part, chosen) for key, part in self.weights.items()},
            splits={key: of_samples(part, chosen) for key, part in self.splits.items()},
            _underflow={key: of_samples(self._underflow[key], chosen) for key in made},
            _at_centre={key: of_samples(part, chosen) for key, part in self._centre().items()},
        )

    def _together(self, name: str, samples: int) -> int:
        """How many entries of an activation are bounded at once."""
        network = self.network
        shapes = [network.relaxed.shapes[step.node.output] for step in network.steps[: network.position[name] + 1]]
        sizes = [math.prod(shape) for shape in shapes]
        first = self._first(name)
        if first is None:
            sizes.append(math.prod(network.relaxed.input_shape))
        else:
            sizes = sizes[network.position[first.name] :]
        one = 2 * samples * max(sizes)
        return max(1, CACHE // one, min(16, MEMORY // one))

    def least(self, name: str, forms: Tensor, *, trace: dict[str, Tensor] | None = None) -> Tensor:
        """(N, R) lower bounds of linear forms (N, R, *shape) on an activation over the region, rounding included.

        ``trace`` gets the forms on what every step makes, and on the input.
        """
        network, region = self.network, self.region
        start, last = network.relaxed.input, network.position.get(name, -1)
        first = self._first(name) if trace is None else None
        pending = {name: forms}
        parts: list[Tensor] = []
        underflow = forms.new_full((1, 1), TINY)
        for step in reversed(network.steps[: last + 1]):
            output = step.node.output
            form = pending.pop(output, None)
            if form is None:
                continue
            if output in self.weights and output in self.splits:
                form = form - (self.weights[output] * self.splits[output])[:, None]
                parts.append(-STEP * flat_dot(form.abs(), self.intervals[output].size()))
            if trace is not None:
                trace[output] = form
            if first is not None and output == first.name:
                parts.append(first.least(region, self._centre()[output], form))
                break
            back, constant = self.relaxations[output].back(form, self.alphas.get(output))
            parts.append(constant)
            underflow = underflow + self._underflow[output]
            for source, part in zip(step.node.inputs, back, strict=True):
                if part is None:
                    continue
                if source in pending:
                    part = pending[source] + part
                    parts.append(-STEP * flat_dot(part.abs(), self.intervals[source].size()))
                pending[source] = part
        if trace is not None:
            trace[start] = pending.get(start, forms.new_zeros(len(region.lo), forms.shape[1], *region.lo.shape[1:]))
        if start in pending:
            parts.append(region.least(pending[start]))
        terms = torch.stack([part.expand(len(region.lo), -1) for part in parts])
        lost = gamma(len(parts)) * terms.abs().sum(0) + underflow
        return known(terms.sum(0) - lost * (1 + 2.0**-20), -torch.inf)

    def at_input(self, name: str, forms: Tensor) -> tuple[Tensor, float]:
        """About what one form (1, 1, *shape) is as a form on the distance from the centre, and its value there."""
        trace: dict[str, Tensor] = {}
        least = self.least(name, forms, trace=trace)
        form = trace[self.network.relaxed.input]
        return form[0, 0], float(least) - float(self.region.least(form)) + float(
            (form[0, 0] * self.region.centre[0]).sum()
        )

    def hinge_slopes(self, name: str) -> dict[str, Tensor]:
        """The free slopes of the hinges in front of an activation, or what they are by default."""
        found = {}
        for step in self.network.steps[: self.network.position.get(name, -1) + 1]:
            output = step.node.output
            made = self.relaxations.get(output)
            if isinstance(made, Entrywise) and made.free is not None:
                found[output] = self.alphas.get(output, made.free.alpha[:, None])
        return found

    def with_slopes(self, slopes: Alphas, weights: Mapping[str, Tensor]) -> Bounds:
        """The same with other free slopes, and weights of cuts where any are given."""
        return replace(self, alphas=slopes, weights=weights or self.weights)

    def adopt(self, slopes: Alphas, weights: Mapping[str, Tensor]) -> None:
        """Go on with these."""
        self.alphas, self.weights = {**self.alphas, **slopes}, {**self.weights, **weights}

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
        at, eps = self._centre()[name], region.eps.reshape(-1, *[1] * reach.ndim)
        moved = raised(eps * reach)
        return Interval(lowered(at.lo - moved), raised(at.hi + moved))

    def _first(self, name: str) -> FirstMap | None:
        """The map that forms on an activation come to before they come to the input."""
        network, first = self.network, first_map(self.network)
        if first is None or network.position[first.name] > network.position.get(name, -1):
            return None
        return first

    def _centre(self) -> dict[str, Interval]:
        """What is linear in the input, at the region's centre."""
        if self._at_centre is None:
            self._at_centre = affine_intervals(self.network, self.region.centre, self.region.centre)
        return self._at_centre


def _open(interval: Interval) -> Tensor:
    return (interval.lo < 0) & (interval.hi > 0)


def _only_hinges(network: Network, name: str) -> bool:
    """Whether all nonlinear nodes that read an activation are hinges: what is on one side of 0 is settled then."""
    return all(step.sides is not None or step.is_linear for step in network.steps if name in step.node.inputs)


def margin_forms(labels: Tensor, classes: int) -> Tensor:
    """(N, classes, classes) forms ``z_y - z_j``; at j = y the form 0."""
    eye = torch.eye(classes, dtype=torch.float64, device=labels.device)
    return eye[labels][:, None, :] - eye[None]
