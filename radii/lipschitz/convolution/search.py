"""The largest eigenvalue of a symbol over a grid of frequencies, and over all frequencies: one Cholesky per cell.

Let S^2 be the largest eigenvalue of ``H(t)`` over all frequencies t, of degree D_a along axis a. Along a line, a
quadratic form ``v^H H v`` is of exponential type ``sum_a D_a |dt_a|``, between 0 and S^2. So where it takes the value
``S^2 cos^2 b``, it is at least ``S^2 cos^2(b + w)`` a distance of ``w = sum_a D_a |dt_a| / 2`` away (in radians, as
long as b + w <= pi/2). *(Duffin and Schaeffer, 1938; for trigonometric polynomials M. Riesz, 1914.)*

Cells of width w (:mod:`radii.lipschitz.convolution.cells`) cover the frequencies. If for some U every cell passes
``lambda_max(H(centre)) <= U^2 cos^2 w``, then ``S <= U`` (take b = 0 where S is reached), and no grid point lies above
``L = U^2 cos^2 w0`` (take b = w0: such a point is w - w0 from its cell's centre). A cell of one point is tested at
``L`` itself. The others are split where they fail, so few frequencies far from the maximum are looked at, and the cost
hardly grows with the grid. Formulas: docs/numerics.md 2.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, positive_definite, power, top_eigenvectors
from radii.lipschitz.convolution.cells import WIDEST, Cells, Grid, Tiling, joined
from radii.lipschitz.convolution.peaks import Peak
from radii.lipschitz.convolution.symbol import Symbol
from radii.lipschitz.rounding import Lower, Upper, down, gamma, up
from radii.lipschitz.work import Spend, unlimited

CHUNK_BYTES = 2**25  # of blocks held at a time, unless that makes them
CHUNK = 16  # fewer than this
MOST_CELLS = 2**13  # of a generation; of small blocks, as many as have
MOST_ENTRIES = 2**20  # this many numbers
SAMPLE = 12  # cells that tell whether a width is worth trying
AT_ONCE = 4  # of them, while it may be
MANY_TESTS = 2**11  # hardly a search takes more
SPLIT_COST = 3.0  # tests that a failure adds: those of four quarters, less what also fails among narrower cells


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


def search_tests(points: int) -> int:
    """Tests after which a search on a grid of so many points and groups has ended, but for rare ones."""
    return min(4 * points, MANY_TESTS)


class Search:
    """Branch and bound over the cells of a grid.

    Args:
        start: where the largest eigenvalue over the grid is thought to be.
        rtol: how far above the largest eigenvalue the proved one may lie, relative.
        beyond: give up as soon as a grid point is known to exceed this.
        spend: told of the multiply-adds of every generation before it is tested.
    """

    def __init__(
        self,
        symbol: Symbol,
        grid: Grid,
        *,
        start: Peak,
        rtol: float,
        beyond: float = math.inf,
        spend: Spend = unlimited,
    ) -> None:
        order = symbol.order
        self.symbol, self.grid, self.start, self.beyond = symbol, grid, start, beyond
        self.tiling = Tiling(grid, symbol.degree, symbol.groups)
        # Rump's term for real blocks is gamma_{n+1} n level; twice gamma_{2n+8} covers complex arithmetic, the division
        # by a pivot done as a product, and the rounding of the shifted diagonal
        self.rounding = 2 * gamma(2 * order + 8) * order
        self.margin = max(rtol, 16 * self.rounding)
        self.level = max(start.value, 4 * symbol.error) * (1 + self.margin)
        self.chunk = max(CHUNK, CHUNK_BYTES // symbol.bytes_per_block)
        self.buffer = np.empty((self.chunk, symbol.parts.shape[2]))
        self.most = max(MOST_CELLS, MOST_ENTRIES // order**2)
        self.spend, self.more = spend, search_tests(math.prod(grid.used) * symbol.groups) * symbol.work_per_block
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
            remaining, tested = joined(failed), len(cells)
            cells = self.tiling.split(remaining)
            if len(cells) > self.most:
                cells = remaining
                self._loosen(cells)
            elif len(cells) > SAMPLE and 3 * len(remaining) > tested:
                self._look(cells)
        if not self.found:
            cell = self.tiling.nearest(self.start.turns, self.start.group)
            self._witness(self.symbol.blocks(*self.tiling.place(cell), cell.group)[0], cell, careful=False)
        anywhere = self.grid.anywhere(up(self.level), self.symbol.degree)
        slack = (self.rounding * self.level + self.symbol.error) / self.level
        return Largest(up(self.level), anywhere, self.found, self.turns, self.group, slack, self.tests)

    def _first(self) -> Cells:
        """Equal cells that cover the grid: the widest that by a sample cost less than the next narrower ones."""
        width = WIDEST if self.tiling.final <= WIDEST else 0.0
        cells = self.tiling.cover(width)
        while len(cells) > SAMPLE and 2 * len(cells) <= self.most and (cells.points > 1).any():
            narrower = cells
            while len(narrower) == len(cells) and (narrower.points > 1).any():
                width *= 0.8
                narrower = self.tiling.cover(width)
            tolerated = (len(narrower) / len(cells) - 1) / SPLIT_COST * SAMPLE
            sample, failures = np.random.default_rng(0).permutation(len(cells))[:SAMPLE], 0
            for first in range(0, SAMPLE, AT_ONCE):
                failures += int((~self._passes(cells[sample[first : first + AT_ONCE]])).sum())
                if failures > tolerated:
                    break
            else:
                break
            cells = narrower
        return cells

    def _passes(self, cells: Cells) -> npt.NDArray[np.bool_]:
        """Whether the true block at each centre is proved to have no eigenvalue above what its cell allows."""
        wide, final = self.tiling.width(cells), self.tiling.final
        shares = np.where(cells.points == 1, 1.0, (np.cos(wide) / math.cos(final)) ** 2 * (1 - 1e-14))
        shares[(cells.points > 1) & ((wide > 2 * WIDEST) | (final > WIDEST))] = 0.0
        allowed = self.level * shares - (self.rounding * self.level + self.symbol.error) * (1 + 1e-14)
        self.tests += len(cells)
        self.spend(len(cells) * self.symbol.work_per_block, self.more)
        result = []
        for first in range(0, len(cells), self.chunk):
            part = slice(first, first + self.chunk)
            place = self.tiling.place(cells[part])
            minus = self.symbol.blocks(*place, cells.group[part], sign=-1.0, out=self.buffer)
            result.append(positive_definite(minus, allowed[part]))
        return np.concatenate(result)

    def _loosen(self, cells: Cells) -> None:
        """Lifts the level to where cells as wide as these pass: those of a flat symbol would be split for ever."""
        widest = min(float(self.tiling.width(cells).max()), 2 * WIDEST)
        self.level *= (1 + self.margin) * (math.cos(self.tiling.final) / math.cos(widest)) ** 2

    def _look(self, cells: Cells) -> None:
        """Lifts the level to that of a promising grid point, lest too low a level have all cells split."""
        some = cells[np.random.default_rng(0).permutation(len(cells))[:SAMPLE]]
        points = self.tiling.middles(some)
        self._raise(points[~self._passes(points)])

    def _raise(self, leaves: Cells) -> None:
        """Lifts the level until all of these grid points pass."""
        room = self.margin
        while len(leaves):
            blocks = self.symbol.blocks(*self.tiling.place(leaves), leaves.group)
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

    def _witness(self, block: Blocks, cell: Cells, *, careful: bool) -> float:
        """A Rayleigh quotient near the largest eigenvalue of a grid point; raises ``found``."""
        vector = top_eigenvectors(block, 1, careful=careful)[1][:, 0]
        quotient = float(np.vdot(vector, block @ vector).real / np.vdot(vector, vector).real)
        lost = up(4 * gamma(2 * self.symbol.order + 16) * float(np.linalg.norm(block)) + self.symbol.error)
        proved = down(quotient - lost)
        if proved > self.found:
            numerators, denominators = self.tiling.place(cell)
            self.found, self.group = proved, int(cell.group[0])
            self.turns = tuple(float(x) for x in numerators[0] % denominators / denominators)
        return quotient
