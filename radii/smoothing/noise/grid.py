"""Gaussian noise on a grid, for 8-bit inputs: exact, where floating point is not.

``x + noise`` in floating point is no location family: the rounding tells where x was, and false certificates can be
built of it (Voracek & Hein 2022). Here an input is whole steps ``k``, the noise is whole steps ``N = round(s Z)``, and
their sum is exact. Because ``k + round(s Z) = round(k + s Z)``, the classifier votes on a rounded Gaussian around x:
the smoothed classifier is that of "round to the grid, then f", and every radius for Gaussian noise holds for it.
"""

import functools
import hashlib
import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr

from radii.smoothing.noise.base import Fill, sfc64

CELLS = 2**16
TILE = 2**17  # values at a time: what the processor's cache holds
REACH = 8.4  # standard deviations; beyond lies 4.5e-17 of an axis
STEPS = 255
MOST_STEPS = 3800.0  # of a standard deviation: all sums fit 16 bits
_OPEN = np.int16(-(2**15))  # a cell that does not settle the value


class GridGaussian:
    """The law of ``round(s Z)`` in steps of ``(high - low)/255``, by table over SFC64, the same on every processor.

    16 random bits choose a cell of the unit interval, which mostly lies within one value's share. Where it does not,
    48 more decide, from a stream of their own.
    """

    def __init__(self, sigma: float, low: float = 0.0, high: float = 1.0) -> None:
        """Raises ValueError, naming the argument, for a sigma that has no table."""
        self.sigma, self.low, self.high = sigma, low, high
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"low, high: must be finite and increasing, not {low}, {high}")
        self.scale = sigma * STEPS / (high - low)
        if not 0 < self.scale <= MOST_STEPS:
            raise ValueError(
                f"sigma: noise on a grid can have a deviation of up to {MOST_STEPS} steps, not {self.scale}"
            )

    @property
    def name(self) -> str:
        return f"grid-gaussian/{STEPS}/{_check()}"

    def tail_mass(self, dimension: int) -> float:
        # a share's ends are rounded to 2^-53, four times over at most; and what REACH leaves out
        return dimension * (2 * REACH * self.scale + 3) * 2.0**-50 + dimension * 1e-16

    def steps(self, x: torch.Tensor) -> torch.Tensor | None:
        """``x`` in whole steps (int16), or None where it is not on the grid."""
        steps = ((x.double() - self.low) * (STEPS / (self.high - self.low))).round()
        if not bool(((steps >= 0) & (steps <= STEPS)).all()):
            return None
        values = torch.empty_like(x)
        k = steps.to(torch.int16)
        self._values(k, values)
        return k if torch.equal(values, x) else None

    def _values(self, k: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(k)
        span = self.high - self.low
        if span != STEPS:
            out.div_(STEPS).mul_(span)
        if self.low:
            out.add_(self.low)

    def stream(self, seed: bytes, x: torch.Tensor) -> Fill:
        """As of every noise; ``x`` must be on the grid (ValueError otherwise)."""
        centre = self.steps(x.cpu())
        if centre is None:
            raise ValueError(f"x: is not on the grid of {STEPS} steps from {self.low} to {self.high}")
        steps, size = centre.numpy().reshape(-1), x.numel()
        words = -(-size // 4)
        table = _table(self.scale)
        bits, more = sfc64(seed), sfc64(hashlib.sha256(b"open cells" + seed).digest())
        rows = max(1, TILE // size)
        noisy = np.empty((rows, size), np.int16)

        def fill(out: torch.Tensor) -> None:
            for start in range(0, len(out), rows):
                part = out[start : start + rows]
                k = noisy[: len(part)]
                cells = bits.random_raw(len(part) * words).view(np.uint16).reshape(len(part), 4 * words)[:, :size]
                np.take(table.value, cells, out=k, mode="wrap")  # mode: without it numpy copies
                table.settle(k.reshape(-1), cells, more)
                np.add(k, steps, out=k)
                self._values(torch.from_numpy(k).view(part.shape).to(part.device), part)

        return fill


class _Table:
    """What each cell of the unit interval says of the value."""

    def __init__(self, scale: float) -> None:
        most = math.ceil(REACH * scale) + 1
        # the share of value v ends at ends[v + most]
        self.most = most
        self.ends = np.append(ndtr((np.arange(-most, most) + 0.5) / scale), 2.0)
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
def _table(scale: float) -> _Table:
    return _Table(scale)


@functools.cache
def _check() -> str:
    noise, x = GridGaussian(0.25), torch.zeros(2**14)
    values = torch.empty(4, 2**14)
    noise.stream(bytes(range(32)), x)(values)
    return f"sfc64-table/{hashlib.sha256(values.numpy().astype('<f4').tobytes()).hexdigest()[:16]}"
