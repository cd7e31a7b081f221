"""Gram iteration on the Fourier blocks of a convolution, with its rounding errors.

As :mod:`radii.lipschitz.dense.iteration` does for a matrix, for all frequencies of a grid at once. A block is dropped
as soon as its bound is no larger than what another one is thought to reach. *(Delattre et al., ICML 2023, arXiv
2305.16173.)*

Formulas: docs/numerics.md 2.6.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from radii.lipschitz.blocks import Blocks, adjoint
from radii.lipschitz.convolution.cells import Grid
from radii.lipschitz.convolution.peaks import Peak
from radii.lipschitz.convolution.search import Largest
from radii.lipschitz.convolution.symbol import Symbol
from radii.lipschitz.rounding import Lower, gamma, up

Array = npt.NDArray[np.float64]

CHUNK_BYTES = 2**25  # of blocks held at a time; a few copies exist


def iterate(symbol: Symbol, grid: Grid, start: Peak, rtol: float) -> Largest:
    """Bound on the largest eigenvalue over a grid, to about ``rtol``. The blocks themselves count as a product.

    ``start``: where it is thought to be.
    """
    order = symbol.order
    most = max(1, math.ceil(math.log2(max(1.0, math.log(order) / math.log1p(rtol)))) + 1) if order > 1 else 1
    points = np.stack(np.unravel_index(np.arange(math.prod(grid.used)), grid.used), axis=1)
    places = np.repeat(2 * points + np.array(grid.halves), symbol.groups, axis=0)
    group = np.tile(np.arange(symbol.groups), len(points))
    chunk = max(1, CHUNK_BYTES // symbol.bytes_per_block)
    largest, steps = 0.0, 0
    for first in range(0, len(places), chunk):
        part = slice(first, first + chunk)
        blocks = symbol.blocks(places[part], 2 * np.array(grid.sizes), group[part])
        largest, taken = _settle(blocks, largest, rtol, most)
        steps = max(steps, taken)
    upper = up(largest + symbol.error)
    # of the blocks; the errors of later products are roots of smaller numbers
    slack = (symbol.error + 4 * gamma(2 * order + 8) * order * largest) / upper
    turns = tuple(float(t) for t in start.turns)
    return Largest(upper, grid.anywhere(upper, symbol.degree), Lower(0.0), turns, start.group, slack, steps)


def _settle(blocks: Blocks, largest: float, rtol: float, most: int) -> tuple[float, int]:
    """Bounds the spectral norm of all blocks (B, n, n) and of what ``largest`` bounds."""
    order = blocks.shape[-1]
    relative, product_error = gamma(2 * order**2 + 8), 2 * gamma(2 * order + 8)
    history: list[tuple[npt.NDArray[np.int32], Array]] = []  # of each iterate: its exponent, and its product's error
    reached, steps = largest, 1
    while True:
        exponent = np.frexp(np.linalg.norm(blocks, axis=(1, 2)))[1].clip(-1000)  # a block of zeros stays one
        blocks = blocks * np.ldexp(1.0, -exponent)[:, np.newaxis, np.newaxis]
        frobenius = np.linalg.norm(blocks, axis=(1, 2)) * (1 + relative)
        # 2^-900: underflow
        history.append((exponent, product_error * frobenius**2 * (1 + 1e-15) + 2.0**-900))
        upper = _unwound(frobenius, history)
        reached = max(reached, float(upper.max()) * order ** (-(0.5**steps)))
        done = (upper <= reached * (1 + rtol / 2)) | (steps >= most)
        largest = max(largest, float(upper[done].max(initial=0.0)))
        if done.all():
            return largest, steps
        history = [(e[~done], error[~done]) for e, error in history]
        blocks = blocks[~done]
        blocks = adjoint(blocks) @ blocks
        steps += 1


def _unwound(frobenius: Array, history: list[tuple[npt.NDArray[np.int32], Array]]) -> Array:
    """Bound on the norm of the first iterate from the last one's, by ``||G||^2 <= ||fl(G^H G)|| + error``."""
    upper = np.nextafter(frobenius, np.inf)
    for t in range(len(history) - 1, 0, -1):
        squared = np.nextafter(np.ldexp(upper, history[t][0]) + history[t - 1][1], np.inf)
        upper = np.nextafter(np.sqrt(squared), np.inf)
    return np.ldexp(upper, history[0][0])
