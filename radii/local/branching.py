"""Regions cut where activations bend, until all is proved or the budget is spent. Formulas: docs/numerics.md 11.9.

A part is a side of 0 for some hinges. Where every hinge has one side the network is linear: then the weights of the
cuts come from a program, which only proposes; their form is taken back like any other.
*(Bunel et al., JMLR 2020; Wang et al., NeurIPS 2021.)*
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from radii.local.ascent import ascend
from radii.local.bounds import Bounds, margin_forms
from radii.local.network import Network
from radii.local.programs import distance, in_ball, in_box
from radii.local.region import Region
from radii.local.relaxation import Interval
from radii.local.search import Floats
from radii.local.slack import flat_dot

TOGETHER = 32  # parts in one batch
STEPS = 12  # of ascent, a batch
FEW = 64  # hinges: of so few every part has a program, not only those in which the network is linear
SMALL = 2**18  # entries of an input, times hinges, up to which a program is solved

Sides = Mapping[str, Tensor]
"""By a hinge's input: 1 above 0, -1 below, 0 both; (*shape)."""


@dataclass(frozen=True, eq=False)
class Part:
    """Where some hinges have one side, and the ways that are still to be proved there."""

    sides: Sides
    ways: frozenset[int]


@dataclass(eq=False)
class Branching:
    """The parts of a region in which something is still to be proved.

    Attributes:
        region: of one sample.
        forms: (R, *shape) on the output.
        ways: of the forms: one is proved where a sum of its forms, times numbers that are not negative, is positive.
        budget: parts that may be looked at.
        hint: about how near a part comes in which a way does not hold, in the norm of a ball.
        near: (N, *input_shape) inputs of a box where ways may not hold, of the last batch.
    """

    network: Network
    region: Region
    forms: Tensor
    ways: Sequence[slice]
    budget: int
    looked_at: int = 0
    open: list[Part] = field(init=False)
    hint: float = math.nan
    near: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open = [Part({}, frozenset(range(len(self.ways))))] if self.ways else []

    @classmethod
    def of_label(cls, network: Network, region: Region, label: int, budget: int) -> Branching:
        """Whether its logit is the largest throughout."""
        classes = network.graph.num_classes
        forms = margin_forms(torch.tensor([label], device=network.device), classes)[0]
        others = [j for j in range(classes) if j != label]
        return cls(network, region, forms[others], [slice(j, j + 1) for j in range(classes - 1)], budget)

    @property
    def spent(self) -> bool:
        """Whether no more parts may be looked at, while some are left."""
        return bool(self.open) and self.looked_at >= self.budget

    def proved(self) -> bool:
        """Whether all ways are, throughout."""
        while self.open and self.advance():
            pass
        return not self.open

    def advance(self) -> bool:
        """Prove the last parts, or cut them in two; False: one can't be proved nor cut, or the budget is spent."""
        room = min(TOGETHER, self.budget - self.looked_at)
        if room <= 0:
            return False
        batch, rest = self.open[-room:], self.open[:-room]
        self.looked_at += len(batch)
        cut = self._look_at(batch)
        if cut is None:
            return False
        self.open = rest + cut
        return True

    def _look_at(self, parts: list[Part]) -> list[Part] | None:
        """What is left of parts; None: one can be neither proved nor cut."""
        self.near = []
        everyone = torch.zeros(len(parts), dtype=torch.int64, device=self.network.device)
        bounds = Bounds(self.network, self.region.rows(everyone), splits=self._stacked(parts)).forward()
        best, which = self._best(bounds, parts)
        rows, ways = torch.nonzero(~(best > 0), as_tuple=True)
        if not len(rows):
            return []
        output = self.network.relaxed.output
        pairs = bounds.rows(rows)
        forms, start = self.forms[which[rows, ways]][:, None], best[rows, ways][:, None]
        weights = {name: torch.zeros_like(pairs.intervals[name].lo) for name in pairs.splits}
        found = ascend(pairs, output, forms, start, STEPS, weights=weights, stop=lambda best: bool((best > 0).all()))
        trace: dict[str, Tensor] = {}
        pairs.least(output, forms, trace=trace)
        few = self.network.hinges <= FEW
        worst: dict[int, int] = {}  # the pair of each part that is to be cut
        left: dict[int, set[int]] = {}  # its ways
        for pair in torch.nonzero(~(found[:, 0] > 0))[:, 0].tolist():
            row, way = int(rows[pair]), int(ways[pair])
            bends = _open_hinges(pairs, pair)
            if (few or not bends) and self._contradicted(pairs, pair, way):
                continue
            if not bends:
                return None
            left.setdefault(row, set()).add(way)
            if row not in worst or float(found[pair, 0]) < float(found[worst[row], 0]):
                worst[row] = pair
        cut, self.hint = [], math.nan
        for row, pair in worst.items():
            if self.region.norm is None:
                form = trace[self.network.relaxed.input][pair, 0]
                self.near.append(torch.where(form > 0, self.region.lo[0], self.region.hi[0]))
            name, place = _most_useful(pairs, pair, trace)
            here, rest = parts[row].sides, frozenset(left[row])
            sides = here.get(name, torch.zeros_like(pairs.intervals[name].lo[0]))
            cut += [Part({**here, name: _with(sides, place, side)}, rest) for side in (1.0, -1.0)]
        return cut

    def _best(self, bounds: Bounds, parts: list[Part]) -> tuple[Tensor, Tensor]:
        """(N, ways) the largest lower bound of a way's forms in every part, infinite where nothing is to be proved, and
        the form that it is of."""
        least = bounds.least(self.network.relaxed.output, self.forms.expand(len(parts), *self.forms.shape))
        best = least.new_full((len(parts), len(self.ways)), -torch.inf)
        which = torch.zeros_like(best, dtype=torch.int64)
        for i, way in enumerate(self.ways):
            if way.stop > way.start:
                best[:, i], place = least[:, way].max(1)
                which[:, i] = way.start + place
        for row, part in enumerate(parts):
            best[row, [i for i in range(len(self.ways)) if i not in part.ways]] = torch.inf
        best[_empty(bounds)] = torch.inf  # no input is in it
        return best, which

    def _stacked(self, parts: list[Part]) -> dict[str, Tensor]:
        shapes = self.network.relaxed.shapes
        names = {step.node.inputs[0] for step in self.network.steps if step.sides is not None}
        zeros = {name: torch.zeros(shapes[name], dtype=torch.float64, device=self.network.device) for name in names}
        return {name: torch.stack([part.sides.get(name, zeros[name]) for part in parts]) for name in names}

    def _contradicted(self, pairs: Bounds, pair: int, way: int) -> bool:
        """Prove a way by weights of cuts and forms that a program proposes. Where no unit bends none is better."""
        one = pairs.rows(torch.tensor([pair], device=self.network.device))
        one.weights = {}
        cuts = {name: split[0] for name, split in one.splits.items() if name in self.network.position}
        places = [(name, int(i)) for name, split in cuts.items() for i in torch.nonzero(split.flatten())[:, 0]]
        forms = self.forms[self.ways[way]]
        if not len(forms) or (len(places) + len(forms)) * self.region.centre[0].numel() > SMALL:
            return False
        known = [(name, _units(-cut.flatten())) for name, cut in cuts.items() if bool(cut.any())]
        known.append((self.network.relaxed.output, forms))
        rows, limits = zip(*(_at_input(one, name, made) for name, made in known), strict=True)
        for proposed in self._proposed(np.concatenate(rows), np.concatenate(limits)):
            one.weights = {name: torch.zeros_like(split)[None] for name, split in cuts.items()}
            for (name, i), weight in zip(places, proposed, strict=False):
                one.weights[name].view(-1)[i] = float(weight)
            share = torch.from_numpy(proposed[len(places) :]).to(forms.device)
            together = (share.reshape(-1, *[1] * (forms.ndim - 1)) * forms).sum(0)
            # forms have weights, too; where all are 0, no input lies in the part
            if bool((one.least(self.network.relaxed.output, together[None, None]) > 0).all()):
                return True
        return False

    def _proposed(self, G: Floats, h: Floats) -> list[Floats]:
        region, found = self.region, []
        if region.norm is not None:
            weights = in_ball(G, h, region.norm)
            if weights is not None:
                self.hint = distance(G, h, weights, region.norm)
                found.append(weights)
        if region.norm is None or region.boxed:
            centre = region.centre[0]
            reach = torch.maximum(region.hi[0] - centre, centre - region.lo[0]).flatten().cpu().numpy()
            weights, u = in_box(G, h, reach)
            if weights is not None:
                found.append(weights)
            if u is not None:
                self.near.append(centre + torch.from_numpy(u).reshape(centre.shape).to(centre.device))
        return found


def _units(vector: Tensor) -> Tensor:
    """(R, n) its entries that are not 0, each alone."""
    (places,) = torch.nonzero(vector, as_tuple=True)
    made = vector.new_zeros(len(places), len(vector))
    return made.scatter(1, places[:, None], vector[places][:, None])


def _at_input(bounds: Bounds, name: str, forms: Tensor) -> tuple[Floats, Floats]:
    """``G u >= h`` for u away from the centre, of one sample, wherever none of the forms (R, ...) is positive."""
    trace: dict[str, Tensor] = {}
    least = bounds.least(name, forms.reshape(1, len(forms), *bounds.network.relaxed.shapes[name]), trace=trace)
    form = trace[bounds.network.relaxed.input]
    at_centre = least - bounds.region.least(form)[0] + flat_dot(form, bounds.region.centre)
    return -form[0].flatten(1).cpu().numpy(), at_centre[0].cpu().numpy()


def _empty(bounds: Bounds) -> Tensor:
    """(N,) whether an activation has no value at all."""
    found = torch.zeros(len(bounds.region.lo), dtype=torch.bool, device=bounds.network.device)
    for interval in bounds.intervals.values():
        found |= (interval.lo > interval.hi).flatten(1).any(1)
    return found


def _hinges(bounds: Bounds) -> list[tuple[str, str]]:
    """The inputs and outputs of hinges."""
    return [(step.node.inputs[0], step.node.output) for step in bounds.network.steps if step.sides is not None]


def _inside(interval: Interval, row: int) -> Tensor:
    return ((interval.lo[row] < 0) & (interval.hi[row] > 0)).flatten()


def _open_hinges(bounds: Bounds, row: int) -> bool:
    return any(bool(_inside(bounds.intervals[name], row).any()) for name, _ in _hinges(bounds))


def _most_useful(bounds: Bounds, row: int, trace: dict[str, Tensor]) -> tuple[str, int]:
    """The open hinge whose triangle costs the form most."""
    best, found = -math.inf, ("", 0)
    for name, output in _hinges(bounds):
        interval = bounds.intervals[name]
        open_ = _inside(interval, row)
        if not bool(open_.any()):
            continue
        lo, hi = interval.lo[row].flatten(), interval.hi[row].flatten()
        form = trace[output][row, 0].flatten().abs() if output in trace else torch.zeros_like(lo)
        area = -lo / (hi - lo) * hi
        cost = torch.where(open_, ((form + 1e-9 * form.max()) * area).nan_to_num(0.0), -1.0)
        i = int(cost.argmax())
        if float(cost[i]) > best:
            best, found = float(cost[i]), (name, i)
    return found


def _with(sides: Tensor, place: int, side: float) -> Tensor:
    made = sides.clone()
    made.view(-1)[place] = side
    return made
