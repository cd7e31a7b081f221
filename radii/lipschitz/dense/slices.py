"""The norm of a matrix from above, for a small part of what its Gram matrix takes. Formulas: docs/numerics.md 2.10."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from radii.lipschitz.dense.matrix import gram_bound
from radii.lipschitz.rounding import Upper, certified_arithmetic, gamma, hypot_up, ldexp_up, scaled, up

Array = npt.NDArray[np.float64]

ROUGH = 1e-3  # relative: slices lose far more


def slices_work(shape: tuple[int, int], rows: int) -> int:
    """Multiply-adds of `sliced_norm`."""
    return rows * math.prod(shape)


@certified_arithmetic()
def sliced_norm(matrix: Array, rows: int) -> Upper:
    """A bound on the spectral norm of a finite matrix (m, n), from slices of so many rows of its shorter side.

    It is the root of the sum of the squares of the slices' norms: with one row each, the Frobenius norm. Or the root of
    the largest sum of moduli in a row times that in a column, if that is less.
    """
    matrix, exponent = scaled(matrix)
    if not matrix.any():
        return Upper(0.0)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    moduli = np.abs(wide)
    sums = (up(float(moduli.sum(axis).max()) * (1 + gamma(wide.shape[axis] + 4))) for axis in (0, 1))
    crossed = up(math.sqrt(up(math.prod(sums))))
    if rows == 1:
        whole = up(float(np.linalg.norm(wide)) * (1 + gamma(wide.size + 16)))
    else:
        parts = (wide[first : first + rows] for first in range(0, len(wide), rows))
        whole = hypot_up(gram_bound(np.ascontiguousarray(part)[None], ROUGH).upper for part in parts)
    return ldexp_up(min(whole, crossed), exponent)
