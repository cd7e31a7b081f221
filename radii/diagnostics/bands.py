"""Bands of spatial frequency: band 0 is the mean, then rings of equal width up to the grid's largest frequency.

The discrete Fourier transform sees a torus, so what it calls a frequency runs over the image's edges. Bands are an
exact orthogonal partition: what they hold of a real image is real, orthogonal, and adds up to it.
Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.diagnostics.errors import NoBands

BANDS = 8


def band_of(size: Sequence[int], bands: int) -> npt.NDArray[np.int64]:
    """The band of every frequency of a grid, (*size), as ``numpy.fft.fftn`` orders them.

    Band b > 0 holds the radii ``sqrt(sum f_a^2)`` (cycles a pixel) in ``((b-1) w, b w]``, w being the largest radius
    over ``bands - 1``; in integers, so that no frequency is put into the wrong ring by rounding.

    Raises:
        NoBands: the grid has one pixel, or fewer than two bands are asked for.
    """
    if math.prod(size) < 2 or bands < 2:
        raise NoBands(f"{bands} bands of {' x '.join(map(str, size))} pixels: there is no frequency but the mean")
    square = np.zeros((), dtype=object)
    for axis, n in enumerate(size):
        others = math.prod(size) // n  # (f_a prod(size))^2 is whole
        cycles = [min(k, n - k) * others for k in range(n)]
        shape = [1] * len(size)
        shape[axis] = n
        square = square + np.array([c * c for c in cycles], dtype=object).reshape(shape)
    most, rings = int(square.max()), (bands - 1) ** 2
    # the least i with i^2 most >= rings square
    flat = [math.isqrt((int(value) * rings - 1) // most) + 1 if value else 0 for value in square.ravel()]
    return np.array(flat, np.int64).reshape(tuple(size))


class Bands:
    """The bands of signals whose last axes have these sizes."""

    def __init__(self, size: Sequence[int], bands: int = BANDS) -> None:
        self.size, self.count = tuple(size), bands
        self.of = torch.from_numpy(band_of(size, bands))
        self._axes = tuple(range(-len(self.size), 0))

    @property
    def sizes(self) -> list[int]:
        """How many frequencies each holds."""
        return torch.bincount(self.of.reshape(-1), minlength=self.count).tolist()

    def only(self, x: Tensor, band: int) -> Tensor:
        """``P_b x``: what a band holds of signals (..., *size)."""
        return self.filtered(x, self.of == band)

    def filtered(self, x: Tensor, kept: Tensor) -> Tensor:
        """The frequencies ``kept``, (*size) booleans that are the same for f and -f, of signals (..., *size)."""
        spectrum = torch.fft.fftn(x, dim=self._axes)
        found: Tensor = torch.fft.ifftn(spectrum * kept, dim=self._axes).real
        return found

    def norms(self, rows: Tensor) -> Tensor:
        """(..., bands) spectral norms ``|M P_b|`` of matrices M given as rows (..., m, channels, *size), by singular
        values: in a band the Fourier transform, which is unitary, leaves those of its columns there."""
        spectrum = torch.fft.fftn(rows, dim=self._axes, norm="ortho").flatten(-len(self.size))
        return torch.stack([_norm(spectrum[..., (self.of == band).reshape(-1)]) for band in range(self.count)], dim=-1)


def _norm(columns: Tensor) -> Tensor:
    """The largest singular values of matrices (..., m, channels, frequencies), the last two axes taken together."""
    matrices = columns.flatten(-2)
    if 0 in matrices.shape:
        return torch.zeros(matrices.shape[:-2], dtype=torch.float64)
    tall = matrices.shape[-2] > matrices.shape[-1]
    gram = matrices.mH @ matrices if tall else matrices @ matrices.mH
    found: Tensor = torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt()
    return found
