"""A matrix of many inputs, as a square one that moves its outputs no less. Formulas: docs/numerics.md 3.12."""

from __future__ import annotations

import math

import numpy as np

from radii.lipschitz.dense.matrix import gram_triangle
from radii.lipschitz.network.linear import Array, NotApplicable
from radii.lipschitz.rounding import gamma, scaled, up

ROOM = 1 + 2.0**-6  # for what the shift itself adds to the errors that it covers


def narrowed(matrix: Array, error: float) -> Array:
    """L (m, m) with ``W W^T <= L L^T`` for every W (m, n) that differs from ``matrix`` by at most ``error`` (spectral).

    Then ``W = L Q`` with ``||Q|| <= 1``, so a Lipschitz constant of any ``g(L y)`` is one of ``g(W x)``. Its squares
    exceed those of W by some rounding errors of ``||W||_F^2``.

    Raises `NotApplicable` where the error is no small part of the matrix, or the arithmetic fails.
    """
    m, n = matrix.shape
    matrix, exponent = scaled(matrix)
    error = error * 2.0**-exponent if abs(exponent) < 900 else math.inf
    gram = gram_triangle(np.ascontiguousarray(matrix.T))
    trace = up(float(gram.trace()) * (1 + gamma(m + n + 8)))
    # of the product, of what the matrix misses, of the factorisation (Higham, Theorem 10.3)
    shift = up(trace * (gamma(n + 4) + gamma(m + 8)) + up(error * (2 * up(math.sqrt(trace)) + error))) * ROOM
    if not (shift < 2.0**-20 * trace and m * gamma(m + 8) < 2.0**-8):
        raise NotApplicable("rounding stands in the way of a smaller first layer")
    gram[np.diag_indices(m)] += shift
    try:
        factor = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        raise NotApplicable("rounding stands in the way of a smaller first layer") from None
    square: Array = np.ldexp(factor, exponent)
    return square
