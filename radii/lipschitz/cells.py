"""The largest eigenvalue of a symbol over a grid of frequencies, and over all frequencies: one Cholesky per cell.

Let S^2 be the largest eigenvalue of ``H(t)`` over all frequencies t, of degree D_a along axis a. Along a line, a
quadratic form ``v^H H v`` is of exponential type ``sum_a D_a |dt_a|``, between 0 and S^2. So where it takes the value
``S^2 cos^2 b``, it is at least ``S^2 cos^2(b + w)`` a distance of ``w = sum_a D_a |dt_a| / 2`` away (in radians, as
long as b + w <= pi/2). *(Duffin and Schaeffer, 1938; for trigonometric polynomials M. Riesz, 1914.)*

Cells cover the frequencies, each a set of grid points and what lies nearest to them: w is the distance from its centre
to a corner, w0 that of a cell of one point. Of two axes alike a cell is a diamond, which for its w holds twice the
points of a square. If for some U every cell passes ``lambda_max(H(centre)) <= U^2 cos^2 w``,
then ``S <= U`` (take b = 0 where S is reached), and no grid point lies above ``L = U^2 cos^2 w0`` (take b = w0: such a
point is w - w0 from its cell's centre). A cell of one point is tested at ``L`` itself. The others are split where they
fail, so few frequencies far from the maximum are looked at, and the cost hardly grows with the grid.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from radii.lipschitz.blocks import positive_definite, power, top_eigenvectors
from radii.lipschitz.peaks import Peak
from radii.lipschitz.rounding import Lower, Upper, down, gamma, up
from radii.lipschitz.symbol import Symbol

Integers = npt.NDArray[np.int64]

CHUNK_BYTES = 2**25  # of blocks held at a time, unless that makes them
CHUNK = 16  # fewer than this
MOST_CELLS = 2**13  # of a generation; of small blocks, as many as have
MOST_ENTRIES = 2**20  # this many numbers
WIDEST = 0.6  # w of the first cells, at most
SAMPLE = 12  # cells that tell whether a width is worth trying
ALIKE = 1.3  # times the smaller weight: the larger one, for diamonds to pay


@dataclass(frozen=True, slots=True)
class Grid:
    """Frequencies ``(j + twist) / size`` turns per axis; the symbol of a real kernel needs half of them.

    Attributes:
        sizes: 1 along an axis of degree 0, where all frequencies are the same.
        twists: 0 or 1/2 per axis, in halves.
    """

    sizes: tuple[int, ...]
    halves: tuple[int, ...]

    @property
    def used(self) -> tuple[int, ...]:
        """Points per axis that are looked at: the others are conjugates."""
        counts = list(self.sizes)
        a = max((a for a, size in enumerate(counts) if size > 1), default=0)
        counts[a] = (counts[a] + 1) // 2 if self.halves[a] else counts[a] // 2 + 1
        return tuple(counts)

    def weights(self, degree: Sequence[int]) -> npt.NDArray[np.float64]:
        """What a point adds to the w of a cell, per axis."""
        weights: npt.NDArray[np.float64] = np.array(degree) * np.pi / (2 * np.array(self.sizes))
        return weights

    def anywhere(self, largest: Upper, degree: Sequence[int]) -> Upper:
        """Bound over all frequencies, from one that holds at every point of the grid; infinite if that is coarse."""
        final = float(self.weights(degree).sum())
        return up(up(largest / math.cos(final) ** 2) * (1 + 1e-14)) if final <= WIDEST else Upper(math.inf)

    @property
    def twists(self) -> tuple[float, ...]:
        return tuple(h / 2 for h in self.halves)


@dataclass(frozen=True, slots=True)
class Largest:
    """What was proved of the largest eigenvalue (the true one: errors of the blocks are included).

    Attributes:
        grid: bound from above over the grid.
        anywhere: over all frequencies.
        found: bound from below, at ``turns`` of the grid, in ``group``.
        slack: part of ``grid`` that covers rounding.
        steps: Cholesky factorisations (of Gram iteration: products).
    """

    grid: Upper
    anywhere: Upper
    found: Lower
    turns: tuple[float, ...]
    group: int
    slack: float
    steps: int


@dataclass(slots=True)
class _Cells:
    first: Integers  # (B, axes): the first grid point, in the search's coordinates
    length: Integers  # (B, axes): how many along each
    group: Integers  # (B)

    def __len__(self) -> int:
        return len(self.group)

    @property
    def points(self) -> Integers:
        """Grid points in each; of diamonds twice that, but one of one."""
        points: Integers = self.length.prod(axis=1)
        return points

    def __getitem__(self, index: npt.NDArray[np.bool_] | Integers | slice) -> "_Cells":
        return _Cells(self.first[index], self.length[index], self.group[index])


class Search:
    """Branch and bound over the cells of a grid.

    Args:
        start: where the largest eigenvalue over the grid is thought to be.
        rtol: how far above the largest eigenvalue the proved one may lie, relative.
        beyond: give up as soon as a grid point is known to exceed this.
    """

    def __init__(self, symbol: Symbol, grid: Grid, *, start: Peak, rtol: float, beyond: float = math.inf) -> None:
        order = symbol.order
        self.symbol, self.grid, self.start, self.beyond = symbol, grid, start, beyond
        # Rump's term for real blocks is gamma_{n+1} n level; twice gamma_{2n+8} covers complex arithmetic, the division
        # by a pivot done as a product, and the rounding of the shifted diagonal
        self.rounding = 2 * gamma(2 * order + 8) * order
        self.margin = max(rtol, 16 * self.rounding)
        self.level = max(start.value, 4 * symbol.error) * (1 + self.margin)
        self.chunk = max(CHUNK, CHUNK_BYTES // symbol.bytes_per_block)
        self.buffer = symbol.parts.new_empty((self.chunk, symbol.parts.shape[2]))
        self.most = max(MOST_CELLS, MOST_ENTRIES // order**2)
        self.weights = grid.weights(symbol.degree)
        self.final = float(self.weights.sum())  # w0
        # coordinates of a cell, times this: twice the index of a grid point
        self.frame = 2 * np.eye(len(grid.sizes), dtype=np.int64)
        self.steps, long = self.weights.copy(), np.flatnonzero(self.weights * (np.array(grid.sizes) > 1))
        self.diagonals = tuple(long) if len(long) == 2 else ()  # the axes of which they are the sum and the difference
        if self.diagonals and self.weights[long].max() <= ALIKE * self.weights[long].min():
            self.frame[np.ix_(long, long)] = [[1, 1], [1, -1]]
            self.steps[long] = self.weights[long].max()
        else:
            self.diagonals = ()
        self.found, self.turns, self.group, self.tests = Lower(0.0), (0.0,) * len(grid.sizes), 0, 0

    def run(self) -> Largest | None:
        """None if a grid point exceeds ``beyond``."""
        cells = self._first()
        while len(cells):
            failed = []
            for first in range(0, len(cells), self.chunk):
                part = cells[first : first + self.chunk]
                failed.append(part[~self._passes(part)])
                self._raise(failed[-1][failed[-1].points == 1])
                if self.found > self.beyond:
                    return None
            remaining = _joined(failed)
            cells = self._split(remaining)
            if len(cells) > self.most:
                cells = remaining
                self._loosen(cells)
            elif len(cells) > SAMPLE:
                self._look(cells)
        if not self.found:
            self._witness_start()
        anywhere = self.grid.anywhere(up(self.level), self.symbol.degree)
        slack = (self.rounding * self.level + self.symbol.error) / self.level
        return Largest(up(self.level), anywhere, self.found, self.turns, self.group, slack, self.tests)

    def _first(self) -> _Cells:
        """Equal cells that cover the grid: the widest of which most of a sample pass."""
        width = WIDEST if self.final <= WIDEST else 0.0
        while True:
            cells = self._cover(width)
            if len(cells) <= SAMPLE or 2 * len(cells) > self.most or (cells.points == 1).all():
                return cells
            sample = cells[np.random.default_rng(0).permutation(len(cells))[:SAMPLE]]
            if self._passes(sample).mean() > 0.5:
                return cells
            width *= 0.8

    def _cover(self, width: float) -> _Cells:
        """Equal cells that cover the grid, of ``w`` up to ``width``."""
        per_axis = []
        axes = max(1, sum(size > 1 for size in self.grid.sizes))
        starts, counts = [0] * len(self.grid.used), list(self.grid.used)
        if self.diagonals:
            width, axes = width - self.final + self.steps[self.diagonals[0]], 1
            one, other = self.diagonals
            starts[other] = 1 - counts[other]
            counts[one] = counts[other] = counts[one] + counts[other] - 1
        for start, used, weight in zip(starts, counts, self.steps, strict=True):
            length = used if weight == 0 else min(used, max(1, int(width / axes / weight)))
            pieces = -(-used // length)
            edges = start + np.arange(pieces + 1) * used // pieces
            per_axis.append(list(itertools.pairwise(edges.tolist())))
        boxes = np.array(list(itertools.product(*per_axis)), dtype=np.int64)  # (B, axes, 2)
        groups = self.symbol.groups
        boxes, group = np.repeat(boxes, groups, axis=0), np.tile(np.arange(groups), len(boxes))
        return self._trimmed(_Cells(boxes[..., 0], boxes[..., 1] - boxes[..., 0], group))

    def _trimmed(self, cells: _Cells) -> _Cells:
        """Diamonds without the corners that hold no grid point, and those only that meet the grid's used points."""
        if not self.diagonals:
            return cells
        first, last = cells.first.copy(), cells.first + cells.length - 1
        for thin, other in (self.diagonals, self.diagonals[::-1]):
            line = first[:, thin] == last[:, thin]  # sum and difference of two integers are both even or both odd
            first[:, other] += line * ((first[:, other] - first[:, thin]) % 2)
            last[:, other] -= line * ((last[:, other] - first[:, thin]) % 2)
        one, other = self.diagonals
        used = self.grid.used
        kept = (first <= last).all(axis=1)
        kept &= (first[:, one] + first[:, other] <= 2 * (used[one] - 1)) & (last[:, one] + last[:, other] >= 0)
        kept &= (first[:, one] - last[:, other] <= 2 * (used[other] - 1)) & (last[:, one] - first[:, other] >= 0)
        return _Cells(first, last - first + 1, cells.group)[kept]

    def _width(self, cells: _Cells) -> npt.NDArray[np.float64]:
        """w: from the centre to the farthest of a cell's corners, and from there to what lies nearest to it."""
        signs = np.array(list(itertools.product((-1, 1), repeat=cells.length.shape[1])))
        corners = np.abs((cells.length - 1)[:, np.newaxis] * signs @ self.frame.T) / 2 @ self.weights
        widths: npt.NDArray[np.float64] = corners.max(axis=1) + self.final
        return widths

    def _split(self, cells: _Cells) -> _Cells:
        """Each cell of more than one point in halves, along every axis but those already much shorter than others."""
        for a, weight in enumerate(self.steps):
            wide = np.where(cells.length > 1, cells.length * self.steps, 0.0).max(axis=1)
            cut = (cells.length[:, a] > 1) & (2 * cells.length[:, a] * weight >= wide)
            whole, halved = cells[~cut], cells[cut]
            low = (halved.length[:, a] + 1) // 2
            left, right = (_Cells(halved.first.copy(), halved.length.copy(), halved.group) for _ in range(2))
            left.length[:, a] = low
            right.first[:, a] += low
            right.length[:, a] -= low
            cells = _joined([whole, left, right])
        return self._trimmed(cells)

    def _place(self, cells: _Cells) -> tuple[Integers, Integers]:
        """The cells' centres in turns: numerators (B, axes) and denominators (axes)."""
        twice = (2 * cells.first + cells.length - 1) @ self.frame.T
        return twice + 2 * np.array(self.grid.halves), 4 * np.array(self.grid.sizes)

    def _passes(self, cells: _Cells) -> npt.NDArray[np.bool_]:
        """Whether the true block at each centre is proved to have no eigenvalue above what its cell allows."""
        wide, final = self._width(cells), self.final
        shares = np.where(cells.points == 1, 1.0, (np.cos(wide) / math.cos(final)) ** 2 * (1 - 1e-14))
        shares[(cells.points > 1) & ((wide > 2 * WIDEST) | (final > WIDEST))] = 0.0
        allowed = self.level * shares - (self.rounding * self.level + self.symbol.error) * (1 + 1e-14)
        self.tests += len(cells)
        result = []
        for first in range(0, len(cells), self.chunk):
            part = slice(first, first + self.chunk)
            place = self._place(cells[part])
            minus = self.symbol.blocks(*place, cells.group[part], sign=-1.0, out=self.buffer)
            result.append(positive_definite(minus, allowed[part]))
        return np.concatenate(result)

    def _loosen(self, cells: _Cells) -> None:
        """Lifts the level to where cells as wide as these pass: those of a flat symbol would be split for ever."""
        widest = min(float(self._width(cells).max()), 2 * WIDEST)
        self.level *= (1 + self.margin) * (math.cos(self.final) / math.cos(widest)) ** 2

    def _look(self, cells: _Cells) -> None:
        """Lifts the level to that of a promising grid point, lest too low a level have all cells split."""
        some = cells[np.random.default_rng(0).permutation(len(cells))[:SAMPLE]]
        points = _Cells(some.first + some.length // 2, np.ones_like(some.length), some.group)
        if self.diagonals:
            one, other = self.diagonals
            points.first[:, other] -= (points.first[:, other] - points.first[:, one]) % 2
        self._raise(points[~self._passes(points)])

    def _witness_start(self) -> None:
        point = np.rint(self.start.turns * self.grid.sizes - self.grid.twists).astype(np.int64)
        if self.diagonals:
            point = self.frame @ point
        cell = _Cells(point[np.newaxis], np.ones((1, len(point)), dtype=np.int64), np.array([self.start.group]))
        self._witness(self.symbol.blocks(*self._place(cell), cell.group)[0], cell, careful=False)

    def _raise(self, leaves: _Cells) -> None:
        """Lifts the level until all of these grid points pass."""
        room = self.margin
        while len(leaves):
            blocks = self.symbol.blocks(*self._place(leaves), leaves.group)
            best = int(power(blocks, steps=6).argmax())
            block = blocks[best]
            quotient = self._witness(block, leaves[best : best + 1], careful=room > self.margin)
            if quotient * (1 + self.margin) > self.level:
                self.level = quotient * (1 + self.margin)
            else:  # rounding stands in the way: give it room
                self.level *= 1 + room
                room *= 2
            if self.found > self.beyond:
                return
            leaves = leaves[~self._passes(leaves)]

    def _witness(self, block: torch.Tensor, cell: _Cells, *, careful: bool) -> float:
        """A Rayleigh quotient near the largest eigenvalue of a grid point; raises ``found``."""
        vector = top_eigenvectors(block, 1, careful=careful)[1][:, 0]
        quotient = float(torch.vdot(vector, block @ vector).real / torch.vdot(vector, vector).real)
        lost = up(4 * gamma(2 * self.symbol.order + 16) * float(torch.linalg.matrix_norm(block)) + self.symbol.error)
        proved = down(quotient - lost)
        if proved > self.found:
            numerators, denominators = self._place(cell)
            self.found, self.group = proved, int(cell.group[0])
            self.turns = tuple(float(x) for x in numerators[0] / denominators)
        return quotient


def _joined(parts: Sequence[_Cells]) -> _Cells:
    return _Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "length", "group")))
