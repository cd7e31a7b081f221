"""Certified radii near single inputs, in any norm. Formulas: docs/numerics.md 11.1."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.graph import Graph, to_module
from radii.graph.operator import Shape
from radii.local.ascent import ascend
from radii.local.bounds import Bounds, margin_forms
from radii.local.branching import Branching
from radii.local.network import Network
from radii.local.question import Box, bounded, inputs, tensor, valid_range
from radii.local.region import Region
from radii.local.relaxation import Interval
from radii.local.result import LocalResult
from radii.local.search import Floats, Search, smallest
from radii.local.slack import certified
from radii.norms import Norm

Samples = npt.NDArray[np.int64]
Effort = Literal["quick", "default", "high"]
INNER_STEPS = 6  # of ascent for the intervals of one activation
STEPS = 30  # for the margins of one try
GUESS = 0.25  # of the radius at which margins are lost that fall evenly: what is tried first
NEARBY = 1.01
FARTHER = 1.15  # how far beyond what fixed slopes prove free ones are tried first
FINE = 2e-3
CUT_FARTHER = 1.1
FINEST = 2.0**-32
FEW = 64  # hinges: of so few the exact radius is looked for
BUDGET = 20000
MOST_ENTRIES = 2**20  # of one activation of a batch: 8 MiB, of which a deep network keeps hundreds


def certify(
    graph: Graph | Network,
    x: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    norm: Norm = "l2",
    effort: Effort = "default",
    box: Box | None = None,
    target_radius: float | None = None,
    floor: npt.ArrayLike | None = None,
    ceiling: npt.ArrayLike | None = None,
    budget: int = BUDGET,
    device: torch.device | str = "cpu",
) -> list[LocalResult]:
    """For each input a radius within which ``label`` has the largest logit, in real arithmetic with the weights as
    stored: what :func:`radii.lipschitz.margin_radius` claims, of one input at a time.

    Args:
        graph: a classifier; its end that keeps the order of the classes is left out, as ``network_bound`` does it.
        x: (N, *input_shape).
        labels: (N,) classes; of an input that is classified otherwise nothing is proved.
        effort: ``quick``: linear relaxation with fixed slopes; ``default``: free slopes found by gradient ascent;
            ``high``: the ball is cut where activations bend.
        box: (lo, hi): nothing is claimed of inputs outside of it.
        target_radius: only this radius is asked for.
        floor: (N,) radii that are proved already.
        ceiling: (N,) distances of known attacks: nothing is tried from there on.
        budget: parts that a ball may be cut into with ``high``, over all tries of an input; counted, so that the same
            file gives the same radius.

    Raises:
        NotRelaxable: a node has no rule.
        ValueError: shapes do not fit, or an input is not finite or outside the box.
    """
    network = graph if isinstance(graph, Network) else Network.of(graph, device)
    with certified(network.device), torch.no_grad():
        points, classes = inputs(network, x, labels)
        floors = np.zeros(len(points)) if floor is None else _radii(floor, len(points))
        ceilings = np.full(len(points), np.inf) if ceiling is None else _radii(ceiling, len(points))
        valid = valid_range(network, points, box)
        widest = max(math.prod(shape) for shape in network.relaxed.shapes.values())
        size = max(1, MOST_ENTRIES // widest)
        results: list[LocalResult] = []
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            range_ = None if valid is None else (valid[0][part], valid[1][part])
            results += _Batch(network, points[part], classes[part], norm, effort, range_, budget).results(
                floors[part], ceilings[part], target_radius
            )
        return results


def _radii(values: npt.ArrayLike, count: int) -> Floats:
    given: Floats = np.asarray(values, np.float64)
    if given.shape != (count,) or not (given >= 0).all():
        raise ValueError(f"{count} radii are needed, none negative")
    return given


class _Batch:
    """Inputs that are looked at together."""

    def __init__(
        self,
        network: Network,
        points: Tensor,
        labels: Tensor,
        norm: Norm,
        effort: Effort,
        valid: tuple[Tensor, Tensor] | None,
        budget: int,
    ) -> None:
        self.network, self.points, self.labels = network, points, labels
        self.norm, self.effort, self.valid = norm, effort, valid
        self.unstable, self.branches = np.zeros((2, len(points)), np.int64)
        self.budget, self.hints = budget, np.full(len(points), np.nan)
        self.spent, self.share = np.zeros(len(points), np.bool_), 1
        self.failed = np.zeros(len(points))  # the eps that was last not proved, and the intervals found there
        self.outer = {name: self._everything(network.relaxed.shapes[name]) for name in network.bent}

    def _everything(self, shape: Shape) -> Interval:
        ends = torch.full((2, len(self.points), *shape), torch.inf, dtype=torch.float64, device=self.network.device)
        return Interval(-ends[0], ends[1])

    def region(self, samples: npt.NDArray[np.int64], eps: Floats) -> Region:
        """The balls of some samples."""
        chosen = torch.as_tensor(samples, device=self.network.device)
        valid = None if self.valid is None else (self.valid[0][chosen], self.valid[1][chosen])
        return Region.ball(self.points[chosen], tensor(self.network, eps), self.norm, valid)

    def quick(self, samples: Samples, eps: Floats) -> Floats:
        """Smallest margins with fixed slopes."""
        return self._tried(samples, eps, free=False)

    def free(self, samples: Samples, eps: Floats) -> Floats:
        """Smallest margins with slopes found by ascent: those of inner activations first, then those of each margin."""
        return self._tried(samples, eps, free=True)

    def _tried(self, samples: Samples, eps: Floats, *, free: bool) -> Floats:
        """What holds on the ball that was last not proved holds on a smaller one: where that is nearly as large it is
        taken as it is first, which costs next to nothing, and then sharpened."""
        least = np.full(len(samples), -np.inf)
        again = (self.failed[samples] >= eps) & (self.failed[samples] <= NEARBY * eps)
        if again.any():
            least[again] = self._margins(samples[again], eps[again], free=free, sharpen=False)
        left = ~(least > 0)
        if left.any():
            least[left] = self._margins(samples[left], eps[left], free=free, sharpen=True)
        return least

    def _margins(self, samples: Samples, eps: Floats, *, free: bool, sharpen: bool) -> Floats:
        chosen = torch.as_tensor(samples, device=self.network.device)
        region, labels = self.region(samples, eps), self.labels[chosen]
        within = torch.as_tensor(self.failed[samples] >= eps, device=self.network.device)
        outer = {name: _where(within, part, chosen) for name, part in self.outer.items()}
        bounds = Bounds(self.network, region, outer=outer, sharpen=sharpen, ascent=INNER_STEPS if free else 0)
        found, bounds = bounded(self.network, region, labels, bounds=bounds)
        rows, others = torch.nonzero(found <= 0, as_tuple=True)
        if free and len(rows):
            forms = margin_forms(labels, self.network.graph.num_classes)[rows, others][:, None]
            found[rows, others] = ascend(
                bounds.rows(rows), self.network.relaxed.output, forms, found[rows, others][:, None], STEPS, stop=_proved
            )[:, 0]
        least = smallest(found.cpu().numpy())
        assert bounds.unstable is not None
        self.unstable[samples] = np.where(least > 0, bounds.unstable.numpy(), self.unstable[samples])
        if sharpen:
            failed = torch.as_tensor(~(least > 0), device=self.network.device)
            self.failed[samples[~(least > 0)]] = eps[~(least > 0)]
            for name, part in self.outer.items():
                part.lo[chosen[failed]] = bounds.intervals[name].lo[failed]
                part.hi[chosen[failed]] = bounds.intervals[name].hi[failed]
        return least

    def cut(self, samples: npt.NDArray[np.int64], eps: Floats) -> Floats:
        """1 where a ball is proved part by part, else -infinity."""
        made = np.full(len(samples), -np.inf)
        for k, (i, e) in enumerate(zip(samples, eps, strict=True)):
            one = np.array([i])
            left = -(-(self.budget - int(self.branches[i])) // self.share)
            branching = Branching.of_label(self.network, self.region(one, np.array([e])), int(self.labels[i]), left)
            made[k] = 1.0 if branching.proved() else -np.inf
            self.branches[i] += branching.looked_at
            self.hints[i] = branching.hint
            self.spent[i] |= branching.spent
        return made

    def results(self, floors: Floats, ceilings: Floats, target: float | None) -> list[LocalResult]:
        """One of each input."""
        everyone = np.arange(len(self.points))
        at_zero = self.quick(everyone, np.zeros(len(everyone)))
        search = Search.between(np.zeros(len(everyone)), ceilings, at_zero)
        if target is not None:
            asked = everyone[(at_zero > 0) & (floors < target) & (ceilings > target)]
            if len(asked):
                eps = np.full(len(asked), target)
                found = self.quick(asked, eps) > 0
                if self.effort != "quick" and not found.all():
                    found[~found] = self.free(asked[~found], eps[~found]) > 0
                if self.effort == "high" and not found.all():
                    found[~found] = self.cut(asked[~found], eps[~found]) > 0
                search.tried[asked] += 1
                search.low[asked[found]], search.high[asked[~found]] = target, target
        else:
            search.low = np.where(at_zero > 0, np.minimum(floors, ceilings), 0.0)
            even = evenly(self.network, self.points, self.labels, at_zero, self.norm)
            search.run(self.quick, even * GUESS, even=even)
            few = self.network.hinges <= FEW
            if self.effort != "quick" and self.network.hinges and not (few and self.effort == "high"):
                search.high = ceilings.copy()  # what one way could not prove another may
                search.run(self.free, search.low * FARTHER, resolution=FINE, growth=FARTHER)
            if self.effort == "high" and self.network.hinges:
                search.high, self.share = ceilings.copy(), 2  # half of the budget is left for other tries
                search.run(
                    self.cut,
                    search.low * (2.0 if few else CUT_FARTHER),
                    resolution=FINEST if few else FINE,
                    growth=2.0 if few else CUT_FARTHER,
                    hints=self.hints,
                )
        return [self._result(i, search, float(floors[i]), float(at_zero[i])) for i in everyone.tolist()]

    def _result(self, i: int, search: Search, floor: float, at_zero: float) -> LocalResult:
        proved = float(search.low[i]) if search.tried[i] and search.low[i] > floor else None
        local = max(proved or 0.0, 0.0)
        high = float(search.high[i])
        notes: list[str] = []
        if not at_zero > 0:
            notes.append("the label's logit is not proved to be the largest at the input itself")
        if self.spent[i]:
            words = "a try was given up when its share of the budget was spent"
            notes.append(f"{words}, of {self.budget} parts: with more, the radius may be larger")
        return LocalResult(
            radius=max(local, floor),
            rule="local" if local > floor else "floor",
            proved=proved,
            failed=high if math.isfinite(high) and not math.isnan(search.at_high[i]) else None,
            tried=int(search.tried[i]),
            unstable=int(self.unstable[i]),
            branches=int(self.branches[i]),
            notes=tuple(notes),
        )


def evenly(network: Network, points: Tensor, labels: Tensor, margins: Floats, norm: Norm) -> Floats:
    """(N,) about the radii at which the label is no longer ahead, if logits went on as they do at the inputs."""
    module = to_module(network.graph, dtype=torch.float64).to(network.device)
    try:
        with torch.enable_grad():
            x = points.clone().requires_grad_()
            logits = module(x)
            top = logits.gather(1, labels[:, None])[:, 0]
            others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
            [slope] = torch.autograd.grad((top - others).sum(), x)
    except RuntimeError:  # it has no gradient
        return np.ones(len(points))
    order = {"l2": 2.0, "linf": 1.0, "l1": math.inf}[norm]
    steep = torch.linalg.vector_norm(slope.flatten(1), ord=order, dim=1).cpu().numpy()
    found: Floats = margins / steep
    return np.where(np.isfinite(found) & (found > 0), found, 1.0)


def _where(valid: Tensor, part: Interval, chosen: Tensor) -> Interval:
    """Of some samples; nothing where it is not valid."""
    mask = valid.reshape(-1, *[1] * (part.lo.ndim - 1))
    return Interval(torch.where(mask, part.lo[chosen], -torch.inf), torch.where(mask, part.hi[chosen], torch.inf))


def _proved(best: Tensor) -> bool:
    return bool((best > 0).all())
