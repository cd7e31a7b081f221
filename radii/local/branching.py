"""Balls cut where activations bend, until every part is proved or the budget is spent. Formulas: docs/numerics.md 11.9.

A part is a side of 0 for some hinges. Where every hinge has one side the network is linear: then the weights of the
cuts come from a linear or least distance program, which only proposes; their form is taken back like any other.
*(Bunel et al., JMLR 2020; Wang et al., NeurIPS 2021.)*
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linprog, nnls
from torch import Tensor

from radii.local.ascent import ascend
from radii.local.bounds import Bounds, margin_forms
from radii.local.network import Network
from radii.local.region import Region
from radii.local.relaxation import Interval
from radii.local.search import Floats

TOGETHER = 32  # parts in one batch
STEPS = 12  # of ascent, a batch
MOST = 1e4  # weight that a linear program may propose: of a part that holds no input no weight is large enough
SMALL = 4096  # entries of an input, times hinges, up to which a program is solved

Part = dict[str, Tensor]  # by a hinge's input: 1 above 0, -1 below, 0 both; (*shape)


@dataclass(eq=False)
class Branching:
    """The parts of one sample's region that are still to be proved."""

    network: Network
    region: Region  # of one sample
    label: Tensor  # (1,)
    budget: int  # parts that may be looked at
    looked_at: int = 0
    open: list[Part] = field(default_factory=list)
    hint: float = math.nan  # about how near a part comes in which the label's logit is not the largest

    def proved(self) -> bool:
        """Whether the label's logit is the largest throughout."""
        self.open = [{}]
        while self.open:
            batch, self.open = self.open[-TOGETHER:], self.open[:-TOGETHER]
            self.looked_at += len(batch)
            if self.looked_at > self.budget or not self._look_at(batch):
                return False
        return True

    def _look_at(self, parts: list[Part]) -> bool:
        """Prove parts, or cut them in two; False: one can be neither proved nor cut."""
        count = len(parts)
        everyone = torch.zeros(count, dtype=torch.int64, device=self.network.device)
        region = self.region.rows(everyone)
        splits = self._stacked(parts)
        bounds = Bounds(self.network, region, splits=splits).forward()
        labels = self.label.expand(count)
        output, classes = self.network.relaxed.output, self.network.graph.num_classes
        margins = bounds.least(output, margin_forms(labels, classes)).scatter(1, labels[:, None], torch.inf)
        margins[_empty(bounds)] = torch.inf  # no input is in it
        rows, others = torch.nonzero(~(margins > 0), as_tuple=True)
        if not len(rows):
            return True
        pairs = bounds.rows(rows)
        forms = margin_forms(labels[rows], classes)[torch.arange(len(rows), device=self.network.device), others][
            :, None
        ]
        start = margins[rows, others][:, None]
        weights = {name: torch.zeros_like(pairs.intervals[name].lo) for name in pairs.splits}
        least = ascend(pairs, output, forms, start, STEPS, weights=weights, stop=lambda best: bool((best > 0).all()))
        trace: dict[str, Tensor] = {}
        pairs.least(output, forms, trace=trace)
        worst: dict[int, int] = {}
        for pair in torch.nonzero(~(least[:, 0] > 0))[:, 0].tolist():
            part = int(rows[pair])
            if part not in worst or float(least[pair, 0]) < float(least[worst[part], 0]):
                worst[part] = pair
            if not _open_hinges(pairs, pair) and not self._leaf(pairs, pair, forms):
                return False
        for part, pair in worst.items():
            cut = _most_useful(pairs, pair, trace)
            if cut is not None:
                self.open += [_cut(parts[part], pairs, *cut, side) for side in (1.0, -1.0)]
        return True

    def _stacked(self, parts: list[Part]) -> Part:
        shapes = self.network.relaxed.shapes
        names = {step.node.inputs[0] for step in self.network.steps if step.sides is not None}
        zeros = {name: torch.zeros(shapes[name], dtype=torch.float64, device=self.network.device) for name in names}
        return {name: torch.stack([part.get(name, zeros[name]) for part in parts]) for name in names}

    def _leaf(self, pairs: Bounds, pair: int, forms: Tensor) -> bool:
        """Prove a part in which the network is linear, by weights of its cuts that a program proposes."""
        one = pairs.rows(torch.tensor([pair], device=self.network.device))
        one.weights = {}
        cuts = {name: split[0] for name, split in one.splits.items() if name in self.network.position}
        places = [(name, int(i)) for name, split in cuts.items() for i in torch.nonzero(split.flatten())[:, 0]]
        if self.region.eps is None or self.region.boxed or len(places) * self.region.centre[0].numel() > SMALL:
            return False
        output = self.network.relaxed.output
        rows, constants = [], []
        for name, i in places:
            form = torch.zeros(cuts[name].numel(), dtype=torch.float64, device=self.network.device)
            form[i] = cuts[name].flatten()[i]
            at_input, constant = one.at_input(name, form.reshape(1, 1, *cuts[name].shape))
            rows.append(at_input.flatten().cpu().numpy())
            constants.append(constant)
        at_input, constant = one.at_input(output, forms[pair : pair + 1])
        rows.append(-at_input.flatten().cpu().numpy())
        constants.append(-constant)
        norm = self.region.norm
        assert norm is not None
        proposed = _weights(np.array(rows), -np.array(constants), norm)
        if proposed is None:
            return False
        self.hint = _distance(np.array(rows), -np.array(constants), proposed, norm)
        one.weights = {
            name: torch.zeros((1, *cut.shape), dtype=torch.float64, device=self.network.device)
            for name, cut in cuts.items()
        }
        for (name, i), weight in zip(places, proposed[:-1], strict=True):
            one.weights[name].view(-1)[i] = float(weight)
        scaled = forms[pair : pair + 1] * float(proposed[-1])
        # the margin has a weight, too; without one, no input lies in the part
        return bool((one.least(output, scaled) > 0).all())


def _weights(G: np.ndarray, h: np.ndarray, norm: str) -> Floats | None:
    """Nonnegative w with ``w h / ||w G||_*`` about as large as can be: the distance of ``G u >= h`` from 0."""
    size = np.abs(G).max(1)
    size[size == 0] = 1.0
    G, h = G / size[:, None], h / size
    k, d = G.shape
    try:
        if norm == "l2":  # Lawson and Hanson, Solving Least Squares Problems, 23.4
            w = nnls(np.vstack([G.T, h[None]]), np.append(np.zeros(d), 1.0), maxiter=100 * k)[0]
        elif norm == "linf":  # sum |w G| <= 1
            a = np.block([[G.T, -np.eye(d)], [-G.T, -np.eye(d)], [np.zeros((1, k)), np.ones((1, d))]])
            made = linprog(
                np.append(-h, np.zeros(d)), a, np.append(np.zeros(2 * d), 1.0), bounds=(0, MOST), method="highs"
            )
            w = None if made.x is None else made.x[:k]
        else:  # max |w G| <= 1
            made = linprog(-h, np.vstack([G.T, -G.T]), np.ones(2 * d), bounds=(0, MOST), method="highs")
            w = None if made.x is None else made.x
    except (RuntimeError, ValueError):
        return None
    if w is None or not np.isfinite(w).all() or not w.max(initial=0.0) > 0:
        return None
    weights: Floats = np.maximum(w, 0.0) / size
    return weights / float(weights.max())


def _distance(G: np.ndarray, h: np.ndarray, w: np.ndarray, norm: str) -> float:
    """What weights say of the distance of ``G u >= h`` from 0; an estimate."""
    dual = np.linalg.norm(w @ G, {"l2": 2, "linf": 1, "l1": np.inf}[norm])
    return float(w @ h / dual) if dual else math.nan


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


def _most_useful(bounds: Bounds, row: int, trace: dict[str, Tensor]) -> tuple[str, int] | None:
    """The hinge whose triangle costs the form most."""
    best, found = -1.0, None
    for name, output in _hinges(bounds):
        interval = bounds.intervals[name]
        open_ = _inside(interval, row)
        if not bool(open_.any()):
            continue
        lo, hi = interval.lo[row].flatten(), interval.hi[row].flatten()
        form = trace[output][row, 0].flatten().abs() if output in trace else torch.zeros_like(lo)
        area = torch.where(open_, -lo * hi / (hi - lo), -1.0)
        cost = torch.where(open_, (form + 1e-9 * form.max()) * area, -1.0).nan_to_num(0.0)
        i = int(cost.argmax())
        if open_[i] and float(cost[i]) > best:
            best, found = float(cost[i]), (name, i)
    return found


def _cut(part: Part, bounds: Bounds, name: str, place: int, side: float) -> Part:
    old = part.get(name)
    made = (
        torch.zeros(bounds.network.relaxed.shapes[name], dtype=torch.float64, device=bounds.network.device)
        if old is None
        else old.clone()
    )
    made.view(-1)[place] = side
    return {**part, name: made}
