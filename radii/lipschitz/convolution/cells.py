"""Cells of frequencies: sets of points of a grid and what lies nearest to them, which cover it and can be split.

A cell's width w is the distance ``sum_a D_a |dt_a| / 2`` (radians) from its centre to the farthest frequency in it, for
a symbol of degree D_a along axis a; w0 is that of a cell of one point, a box. Of two axes alike a cell is a diamond,
which for its w holds twice the frequencies of a square. Formulas: docs/numerics.md 2.5.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.rounding import Upper, up

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

WIDEST = 0.6  # w of the first cells, at most
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
        """Points per axis that are looked at: the others are conjugates. It is the last long axis that is halved."""
        counts = list(self.sizes)
        a = max((a for a, size in enumerate(counts) if size > 1), default=0)
        counts[a] = (counts[a] + 1) // 2 if self.halves[a] else counts[a] // 2 + 1
        return tuple(counts)

    def weights(self, degree: Sequence[int]) -> Array:
        """What a point adds to the w of a cell, per axis."""
        weights: Array = np.array(degree) * np.pi / (2 * np.array(self.sizes))
        return weights

    def anywhere(self, largest: Upper, degree: Sequence[int]) -> Upper:
        """Bound over all frequencies, from one that holds at every point of the grid; infinite if that is coarse."""
        final = float(self.weights(degree).sum())
        return up(up(largest / math.cos(final) ** 2) * (1 + 1e-14)) if final <= WIDEST else Upper(math.inf)

    @property
    def twists(self) -> tuple[float, ...]:
        return tuple(h / 2 for h in self.halves)


@dataclass(slots=True)
class Cells:
    """Boxes of grid points, in the coordinates of a tiling: of diamonds, sum and difference of two axes."""

    first: Integers  # (B, axes): the first grid point, in the coordinates of their tiling
    length: Integers  # (B, axes): how many along each
    group: Integers  # (B)

    def __len__(self) -> int:
        return len(self.group)

    @property
    def points(self) -> Integers:
        """Grid points in each; of diamonds twice that, but one of one."""
        points: Integers = self.length.prod(axis=1)
        return points

    def __getitem__(self, index: npt.NDArray[np.bool_] | Integers | slice) -> "Cells":
        return Cells(self.first[index], self.length[index], self.group[index])


class Tiling:
    """How the points of a grid that are used, and what lies nearest to them, are covered by cells, for each group."""

    def __init__(self, grid: Grid, degree: Sequence[int], groups: int) -> None:
        self.grid, self.groups = grid, groups
        self.weights = grid.weights(degree)
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

    def cover(self, width: float) -> Cells:
        """Equal cells that cover the grid, of ``w`` up to ``width``, but of a point at least."""
        boxes = np.array(self._diamonds(width) if self.diagonals else self._boxes(width), dtype=np.int64)
        boxes, group = np.repeat(boxes, self.groups, axis=0), np.tile(np.arange(self.groups), len(boxes))
        return self._trimmed(Cells(boxes[..., 0], boxes[..., 1] - boxes[..., 0], group))

    def _boxes(self, width: float) -> list[tuple[tuple[int, int], ...]]:
        """The first point and the one after the last, along each axis, of each cell."""
        per_axis = []
        axes = max(1, sum(size > 1 for size in self.grid.sizes))
        for used, weight in zip(self.grid.used, self.steps, strict=True):
            length = used if weight == 0 else min(used, max(1, int(width / axes / weight)))
            pieces = -(-used // length)
            per_axis.append(list(itertools.pairwise(int(k) * used // pieces for k in range(pieces + 1))))
        return list(itertools.product(*per_axis))

    def _diamonds(self, width: float) -> list[tuple[tuple[int, int], ...]]:
        """The same in sums s and differences d of the two indices: ``0 <= d < N`` and ``0 <= s - d <= 2 (used - 1)``.

        The first index, of N points, is counted on past its end, where the frequencies begin anew.
        """
        one, other = self.diagonals
        around, across = self.grid.sizes[one], 2 * (self.grid.used[other] - 1)
        length = max(1, int((width - self.final) / self.steps[one] + 1))
        pieces = -(-around // length)
        edges = np.arange(pieces + 1) * around // pieces
        edges = np.concatenate([edges[:-1] + turn * around for turn in range(2 + -(-across // around))]).tolist()
        cells = []
        for piece in range(pieces):
            for s in itertools.pairwise(edges[piece:]):
                if s[0] >= edges[piece + 1] + across:
                    break
                box = [(0, 1)] * len(self.steps)
                box[one], box[other] = s, (edges[piece], edges[piece + 1])
                cells.append(tuple(box))
        return cells

    def _trimmed(self, cells: Cells) -> Cells:
        """Diamonds without the corners that hold no grid point, and those only that meet the grid's used points."""
        if not self.diagonals:
            return cells
        first, last = cells.first.copy(), cells.first + cells.length - 1
        for thin, other in (self.diagonals, self.diagonals[::-1]):
            line = first[:, thin] == last[:, thin]  # sum and difference of two integers are both even or both odd
            first[:, other] += line * ((first[:, other] - first[:, thin]) % 2)
            last[:, other] -= line * ((last[:, other] - first[:, thin]) % 2)
        one, other = self.diagonals
        kept = (first <= last).all(axis=1) & (last[:, one] >= first[:, other])
        kept &= first[:, one] - last[:, other] <= 2 * (self.grid.used[other] - 1)
        return Cells(first, last - first + 1, cells.group)[kept]

    def width(self, cells: Cells) -> Array:
        """w: from the centre to the farthest of a cell's corners, and from there to what lies nearest to it."""
        signs = np.array(list(itertools.product((-1, 1), repeat=cells.length.shape[1])))
        corners = np.abs((cells.length - 1)[:, np.newaxis] * signs @ self.frame.T) / 2 @ self.weights
        widths: Array = corners.max(axis=1) + self.final
        return widths

    def split(self, cells: Cells) -> Cells:
        """Each cell of more than one point in halves, along every axis but those already much shorter than others."""
        for a, weight in enumerate(self.steps):
            wide = np.where(cells.length > 1, cells.length * self.steps, 0.0).max(axis=1)
            cut = (cells.length[:, a] > 1) & (2 * cells.length[:, a] * weight >= wide)
            whole, halved = cells[~cut], cells[cut]
            low = (halved.length[:, a] + 1) // 2
            left, right = (Cells(halved.first.copy(), halved.length.copy(), halved.group) for _ in range(2))
            left.length[:, a] = low
            right.first[:, a] += low
            right.length[:, a] -= low
            cells = joined([whole, left, right])
        return self._trimmed(cells)

    def place(self, cells: Cells) -> tuple[Integers, Integers]:
        """The cells' centres in turns: numerators (B, axes) and denominators (axes)."""
        twice = (2 * cells.first + cells.length - 1) @ self.frame.T
        return twice + 2 * np.array(self.grid.halves), 4 * np.array(self.grid.sizes)

    def middles(self, cells: Cells) -> Cells:
        """A grid point in each, near its centre."""
        points = Cells(cells.first + cells.length // 2, np.ones_like(cells.length), cells.group)
        if self.diagonals:
            one, other = self.diagonals
            points.first[:, other] -= (points.first[:, other] - points.first[:, one]) % 2
        return points

    def nearest(self, turns: Array, group: int) -> Cells:
        """The grid point nearest to a frequency, as a cell."""
        point = np.rint(turns * self.grid.sizes - self.grid.twists).astype(np.int64)
        if self.diagonals:
            point = self.frame @ point
        return Cells(point[np.newaxis], np.ones((1, len(point)), dtype=np.int64), np.array([group]))


def joined(parts: Sequence[Cells]) -> Cells:
    return Cells(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("first", "length", "group")))
