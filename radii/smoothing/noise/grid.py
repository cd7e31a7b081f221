"""Noise on a grid, for 8-bit inputs: exact, where floating point is not.

``x + noise`` in floating point is no location family: the rounding tells where x was, and false certificates can be
built of it (Voracek & Hein 2022). Here an input is whole steps ``k``, the noise is whole steps ``N = round(s Z)``, and
their sum is exact. Because ``k + round(s Z) = round(k + s Z)``, the classifier votes on a rounded Gaussian around x:
the smoothed classifier is that of "round to the grid, then f", and every radius for Gaussian noise holds for it. So it
is with uniform and with Laplace noise: only Z has another law. Formulas: docs/numerics.md 6.3.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from radii.laws import Law
from radii.smoothing.noise.base import Fill, Part, in_turn, sfc64

Values = npt.NDArray[np.floating]
Classifier = Callable[[torch.Tensor], torch.Tensor]
CELLS = 2**16
FILL = 2**20  # values at a time, so that what a call costs does not count
TILE = 2**15  # values looked up at a time: their indices fit the processor's cache
STEPS = 255
MOST = 2**15 - 1 - STEPS  # steps of noise: all sums fit 16 bits
_OPEN = np.int16(-(2**15))  # a cell that does not settle the value


class Grid:
    """The law of ``round(s Z)`` in steps of ``(high - low)/255``, by table over SFC64, the same on every processor.

    16 random bits choose a cell of the unit interval, which mostly lies within one value's share. Where it does not,
    48 more decide, from a stream of their own.
    """

    def __init__(self, law: Law, sigma: float, low: float = 0.0, high: float = 1.0) -> None:
        """Raises ValueError, naming the argument, for a sigma that has no table."""
        self.of = law
        self.sigma, self.low, self.high = sigma, low, high
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low, high: must be finite and increasing, not {low}, {high}")
        self.scale = sigma * STEPS / (high - low)
        most = (MOST - 2) / law.reach
        if not 0 < self.scale <= most:
            raise ValueError(
                f"sigma: {law.name} noise on a grid can deviate by up to {most:.0f} steps, not {self.scale}"
            )

    @property
    def law(self) -> str:
        return self.of.name

    @property
    def name(self) -> str:
        return f"grid-{self.law}/{STEPS}/{_check(self.of)}"

    def tail_mass(self, dimension: int) -> float:
        # a share's ends are rounded to 2^-53, four times over at most; and what the reach leaves out
        return dimension * (2 * self.of.reach * self.scale + 3) * 2.0**-50 + dimension * 1e-16

    def steps(self, x: torch.Tensor) -> torch.Tensor | None:
        """``x`` in whole steps (int16), or None where it is not on the grid."""
        steps = ((x.double() - self.low) * (STEPS / (self.high - self.low))).round()
        values = torch.empty_like(x)
        k = steps.to(torch.int16)
        self.values(k, values)
        return k if bool(((steps >= 0) & (steps <= STEPS) & (values == x)).all()) else None  # waits once for a device

    def centre(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`steps`; raises ValueError in place of None."""
        if (steps := self.steps(x)) is None:
            raise ValueError(f"x: is not on the grid of {STEPS} steps from {self.low} to {self.high}")
        return steps

    def values(self, k: torch.Tensor, out: torch.Tensor) -> None:
        """Write what ``k`` steps are as values, float32, to ``out``."""
        _values(k, self.low, self.high, out)

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        """See :meth:`Noise.stream`; ``x`` must be on the grid (ValueError otherwise)."""
        steps, size = self.centre(x.cpu()).numpy().reshape(-1), x.numel()
        words = -(-size // 4)
        table = _table(self.scale, self.of)
        bits, more = sfc64(seed), sfc64(hashlib.sha256(b"open cells" + seed).digest())
        rows, tile = max(1, FILL // size), max(1, TILE // size)
        noisy = np.empty((rows, size), np.int16)

        def fill(out: torch.Tensor) -> None:
            for start in range(0, len(out), rows):
                part = out[start : start + rows]
                k = noisy[: len(part)]
                cells = bits.random_raw(len(part) * words).view(np.uint16).reshape(len(part), 4 * words)[:, :size]
                for row in range(0, len(part), tile):
                    few = slice(row, row + tile)
                    np.take(table.value, cells[few], out=k[few], mode="wrap")  # mode: without it numpy copies
                table.settle(k.reshape(-1), cells, more)
                np.add(k, steps, out=k)
                self.values(torch.from_numpy(k).view(part.shape).to(part.device), part)

        return fill

    def streams(self, parts: Sequence[Part]) -> Fill:
        return in_turn(self, parts)


def rounded(classifier: Classifier, low: float, high: float) -> Classifier:
    """What noise on a grid certifies: round to 255ths of ``high - low``, then classify.

    Of an input that lies on no grid, under noise in floating point. Its gradient is the classifier's.
    """

    def on_grid(points: torch.Tensor) -> torch.Tensor:
        values = points.detach() - low
        values.mul_(STEPS / (high - low)).round_()
        _values(values, low, high, values)
        return classifier(values + (points - points.detach()) if points.requires_grad else values)

    return on_grid


def _values(k: torch.Tensor, low: float, high: float, out: torch.Tensor) -> None:
    """As `Grid.values`; ``out`` may be ``k``."""
    out.copy_(k)
    span = high - low
    if span != STEPS:
        # A tensor: by a number CUDA divides as times its reciprocal, whose rounding moves every other value.
        out.div_(out.new_full((), STEPS))
        if span != 1:
            out.mul_(span)
    if low:
        out.add_(low)


class _Table:
    """A table from cells of the unit interval to values of the noise, where a cell settles the value."""

    def __init__(self, scale: float, law: Law) -> None:
        most = math.ceil(law.reach * scale) + 1
        # the share of value v ends at ends[v + most]
        self.most = most
        self.ends = np.append(law.cdf((np.arange(-most, most) + 0.5) / scale), 2.0)
        edges = np.arange(CELLS + 1) / CELLS
        self.first = np.searchsorted(self.ends, edges[:-1], side="right").astype(np.int32)
        last = np.searchsorted(self.ends, edges[1:], side="left")
        self.value: npt.NDArray[np.int16] = np.where(self.first == last, self.first - most, _OPEN).astype(np.int16)

    def settle(self, k: npt.NDArray[np.int16], cells: npt.NDArray[np.uint16], more: np.random.SFC64) -> None:
        """Overwrites what is open in ``k``, in its order."""
        places = np.flatnonzero(k == _OPEN)
        if not len(places):
            return
        chosen = np.take(cells, places)
        u = (chosen + (more.random_raw(len(places)) >> np.uint64(16)) * 2.0**-48) / CELLS  # exact but for its last bits
        share = np.take(self.first, chosen)
        share += u >= self.ends[share]  # one end lies in most open cells, many in the outermost
        beyond = np.flatnonzero(u >= self.ends[share])
        share[beyond] = np.searchsorted(self.ends, u[beyond], side="right")
        k[places] = share - self.most


@functools.lru_cache(maxsize=16)
def _table(scale: float, law: Law) -> _Table:
    return _Table(scale, law)


@functools.cache
def _check(law: Law) -> str:
    noise, x = Grid(law, 0.25), torch.zeros(2**14)
    values = torch.empty(4, 2**14)
    noise.stream(bytes(range(32)), x)(values)
    return f"sfc64-table/{hashlib.sha256(values.numpy().astype('<f4').tobytes()).hexdigest()[:16]}"
