"""Whether a network has a counterexample of a property, as VNN-COMP asks: proved, shown, or neither.

Over each box the inequalities of outputs are bounded as margins (docs/numerics.md 11.1). Where that decides nothing the
box is cut: of few inputs in halves, along its relatively widest side; of more where activations bend (11.9). Parts are
within a budget, which is counted and not timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from radii.graph import Graph, Node, to_module
from radii.graph.ops.linear import Gemm
from radii.local.bounds import margin_forms
from radii.local.branching import Branching
from radii.local.network import Network
from radii.local.question import margins_in_box
from radii.local.region import Region
from radii.local.slack import certified
from radii.local.vnnlib import Case, Inequality, Property, above

Floats = npt.NDArray[np.float64]
Run = Callable[[npt.NDArray[np.float32]], Floats]
"""The outputs (m,) of one input (n,), by whatever the network is served by."""

Outcome = tuple[tuple[npt.NDArray[np.float32], Floats] | None, int, bool]
"""A counterexample with its outputs, the parts looked at, and whether every one is proved to have none."""

BUDGET = 2**12  # parts
FEW = 8  # inputs, up to which boxes are halved
TOGETHER = 64  # boxes in a batch
STEPS, STARTS = 30, 4  # of gradient descent, towards each way


@dataclass(frozen=True)
class Verdict:
    """``unsat``: there is no counterexample, in real arithmetic with the weights as stored; ``sat``: ``x`` is one, with
    the outputs ``y``; ``unknown``: neither was found within the budget.

    ``x`` is in float32, and in the box up to the rounding of ends that float32 does not hold.
    """

    status: Literal["unsat", "sat", "unknown"]
    parts: int
    x: npt.NDArray[np.float32] | None = None
    y: Floats | None = None


def verify(graph: Graph, prop: Property, run: Run, *, budget: int = BUDGET) -> Verdict:
    """Answer a property whose outputs are those of ``graph``; a counterexample counts if ``run`` makes it one.

    Raises:
        NotRelaxable: a node has no rule.
        ValueError: the property is of another number of inputs or outputs, or an end is beyond float64.
    """
    size = math.prod(graph.input_shape)
    if (prop.inputs, prop.outputs) != (size, graph.num_classes):
        raise ValueError(
            f"the property is of {prop.inputs} inputs and {prop.outputs} outputs, the network has {size} and "
            f"{graph.num_classes}"
        )
    parts, open_ = 0, False
    for case in prop.cases:
        search = _Search(graph, case, run)
        found = search.example(_descended(search, *case.box))
        ways = [search.halved] if size <= FEW or not search.network.hinges else [search.cut, search.halved]
        decided = False
        for way in ways:
            if found is None and not decided:
                found, used, decided = way(budget - parts)
                parts += used
        if found is not None:
            return Verdict("sat", parts, *found)
        open_ |= not decided
    return Verdict("unknown" if open_ else "unsat", parts)


class _Search:
    """One box. Rows are the inequalities of all ways, ``limit - sum c Y``: a counterexample has all of a way's >= 0."""

    def __init__(self, graph: Graph, case: Case, run: Run) -> None:
        self.case, self.run, self.shape = case, run, graph.input_shape
        rows = [_whole(inequality) for way in case.ways for inequality in way]
        matrix = np.zeros((1 + len(rows), graph.num_classes))
        offset = np.zeros(1 + len(rows))
        for i, row in enumerate(rows, start=1):
            for j, c in row.coefficients.items():
                matrix[i, j] = -float(c)
            offset[i] = above(row.limit)  # more counterexamples, not fewer
        ends = np.cumsum([0, *map(len, case.ways)]).tolist()
        self.ways = [slice(start, end) for start, end in pairwise(ends)]
        last = Node(Gemm(matrix, offset), (graph.output,), "rows", -1)
        extended = Graph.build(graph.input, graph.input_shape, "rows", [*graph.nodes, last])
        self.network = Network.of(extended)
        self.module = to_module(extended, dtype=torch.float64)

    def cut(self, budget: int) -> Outcome:
        """Cut the box where activations bend."""
        lower, upper = (torch.from_numpy(end).reshape(1, *self.shape) for end in self.case.box)
        forms = margin_forms(torch.zeros(1, dtype=torch.int64), self.network.graph.num_classes)[0, 1:]
        with certified(self.network.device), torch.no_grad():
            branching = Branching(self.network, Region.box(lower, upper), forms, self.ways, budget)
            while branching.open:
                decided = branching.advance()
                near = [point.reshape(-1).numpy() for point in branching.near]
                found = self.example(np.stack(near)) if near else None
                if found is not None or not decided:
                    return found, branching.looked_at, False
            return None, branching.looked_at, True

    def halved(self, budget: int) -> Outcome:
        """Cut the box in halves."""
        lower, upper = self.case.box
        width = np.where(upper > lower, upper - lower, 1.0)
        todo, used, decided = [(lower, upper)], 0, True
        while todo:
            part, todo = todo[-TOGETHER:], todo[:-TOGETHER]
            if used + len(part) > budget:
                return None, used, False
            used += len(part)
            lo, hi = (np.stack(ends) for ends in zip(*part, strict=True))
            open_ = ~self.proved(lo, hi)
            found = self.example((lo[open_] + hi[open_]) / 2)
            if found is not None:
                return found, used, False
            for low, high in zip(lo[open_], hi[open_], strict=True):
                i = int(((high - low) / width).argmax())
                middle = low[i] + (high[i] - low[i]) / 2
                if not low[i] < middle < high[i]:
                    decided = False  # nothing left to halve
                    continue
                left, right = high.copy(), low.copy()
                left[i] = right[i] = middle
                todo += [(low, left), (right, high)]
        return None, used, decided

    def proved(self, lower: Floats, upper: Floats) -> npt.NDArray[np.bool_]:
        """(N,) whether each way has an inequality that fails all over the box."""
        shape = (len(lower), *self.shape)
        labels = np.zeros(len(lower), np.int64)
        found = margins_in_box(self.network, np.reshape(lower, shape), np.reshape(upper, shape), labels)[:, 1:]
        return np.array([all(bool((row[way] > 0).any()) for way in self.ways) for row in found], np.bool_)

    def example(self, points: Floats) -> tuple[npt.NDArray[np.float32], Floats] | None:
        """The first of the points (N, n) that is a counterexample, with its outputs."""
        for point in self._promising(points):
            x = _in_float32(point, self.case)
            y = self.run(x)
            if any(all(inequality.holds(y) for inequality in way) for way in self.case.ways):
                return x, y
        return None

    def _promising(self, points: Floats) -> Iterator[Floats]:
        if not len(points):
            return
        with torch.no_grad():
            rows = self.module(torch.from_numpy(points).view(-1, *self.shape))[:, 1:]
        for point, row in zip(points, rows, strict=True):
            if any(bool((row[way] >= -1e-9).all()) for way in self.ways):
                yield point


def _descended(search: _Search, lower: Floats, upper: Floats) -> Floats:
    """Points towards each way: gradient descent on the inequality that is farthest from holding, by signs."""
    draw = np.random.default_rng(0)
    lo, hi = torch.from_numpy(lower), torch.from_numpy(upper)
    starts = np.concatenate([[(lower + upper) / 2], draw.uniform(lower, upper, (STARTS - 1, len(lower)))])
    found = [starts]
    for way in search.ways:
        points = torch.from_numpy(starts.copy())
        if way.stop == way.start:
            continue
        for step in range(STEPS):
            points.requires_grad_()
            worst = search.module(points.view(-1, *search.shape))[:, 1:][:, way].amin(1)
            [gradient] = torch.autograd.grad(worst.sum(), points)
            size = (hi - lo) * 0.5 * (1 - step / STEPS)
            points = torch.minimum(torch.maximum(points.detach() + size * gradient.sign(), lo), hi)
        found.append(points.numpy())
    return np.concatenate(found)


def _in_float32(point: Floats, case: Case) -> npt.NDArray[np.float32]:
    """The nearest that float32 holds, moved into the box by one step where that is possible."""
    x = point.astype(np.float32)
    for i, value in enumerate(x):
        for end, aim, beyond in ((case.lower[i], np.inf, -1), (case.upper[i], -np.inf, 1)):
            if (Fraction(float(value)) - end) * beyond > 0:
                moved = np.nextafter(value, np.float32(aim))
                if case.lower[i] <= Fraction(float(moved)) <= case.upper[i]:
                    x[i] = moved
    return x


def _whole(inequality: Inequality) -> Inequality:
    """The same times what makes its coefficients whole numbers. Raises ``ValueError`` if float64 can't hold those."""
    factor = math.lcm(*(c.denominator for c in inequality.coefficients.values()))
    coefficients = {i: c * factor for i, c in inequality.coefficients.items()}
    if all(Fraction(float(c)) == c for c in inequality.coefficients.values()):
        return inequality
    if any(abs(c) > 2**53 for c in coefficients.values()):
        raise ValueError("a coefficient of an output has more digits than float64 holds")
    return Inequality(coefficients, inequality.limit * factor)
