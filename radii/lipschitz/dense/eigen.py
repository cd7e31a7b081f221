"""The largest eigenvalue of symmetric matrices, proved from above: propose, then verify by Cholesky.

An estimate proposes a level. Where the Cholesky factorisation of ``level I - H`` runs to its end in float64, ``H`` has
no eigenvalue above ``level`` but for a rounding term (Rump, Verification of positive definiteness, BIT 46, 2006). That
costs n^3/3 whatever the spectral gap, and a wrong estimate costs time, never soundness.

The factorisation is SciPy's OpenBLAS: open source, substitution in every triangular solve (so that the textbook
backward error holds in any blocking), and about twice as quick as MKL where this was measured.

A matrix is given by its lower triangle, in Fortran order; what stands above the diagonal is never read.
Formulas: docs/numerics.md 2.2.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, eigh, eigh_tridiagonal, lapack

from radii.lipschitz.rounding import UNIT, Lower, Upper, down, gamma, sum_up, up

Array = npt.NDArray[np.float64]

LANCZOS_FROM = 128  # below this order a full eigendecomposition is quicker than Lanczos
MOST_STEPS = 256  # of Lanczos: its basis is orthogonalised in full, at a cost that grows as the square
FIRST_CHECK, CHECK_EVERY = 16, 8  # steps of Lanczos
BLOCK = 128  # columns of a triangle copied at once


class LargestEigenvalue:
    """Bounds on the largest eigenvalue over all matrices seen, each symmetric and (nearly) positive semidefinite.

    Args:
        order: n, the size of every matrix.
        rtol: how far above the largest eigenvalue the verified level may lie, relative. A fifth of it is aimed at.
        floor: a positive level to start from: the bound is sound wherever it lies, and never below it.
    """

    def __init__(self, order: int, *, rtol: float, floor: float) -> None:
        self.order = order
        self.step = max(rtol / 100, 8 * order * (order + 4) * UNIT)
        self.tolerance = max(rtol / 4, self.step / 4)
        self.margin = 1.5 * rtol
        self.level = floor
        self.found = 0.0
        self.factorisations = 0
        self._work: Array = np.empty((order, order), order="F")

    def add(self, matrix: Array, norm: float) -> None:
        """Raises the level until it is verified for this matrix too, which must be finite.

        ``norm`` is at least its Frobenius norm.
        """
        if self.found > 0 and self._verified(matrix):
            return
        for level in self._proposals(matrix, norm):
            if level > self.level:
                self.level = level
                if self._verified(matrix):
                    return

    def _proposals(self, matrix: Array, norm: float) -> Iterator[float]:
        quotient, doubt = self._witness(matrix, norm, careful=False)
        yield quotient * (1 + self.step + min(doubt, self.margin))
        yield self.found * (1 + self.margin)  # costs less than a better estimate
        yield self._witness(matrix, norm, careful=True)[0] * (1 + self.step)
        step = self.step
        while True:  # rounding stands in the way: give it room
            yield self.level * (1 + step)
            step *= 2

    def _verified(self, matrix: Array) -> bool:
        self.factorisations += 1
        return cholesky_succeeds(self.level, matrix, self._work)

    def _witness(self, matrix: Array, norm: float, *, careful: bool) -> tuple[float, float]:
        """A Rayleigh quotient near the largest eigenvalue, and how near it seems; raises ``found``."""
        vector, doubt = top_eigenvector(matrix, self._work, tolerance=self.tolerance, careful=careful)
        quotient = float((vector @ times(matrix, vector)) / (vector @ vector))
        slack = 4 * gamma(self.order + 16) * norm  # a product with H and two of vectors
        self.found = max(self.found, down(quotient - up(slack)))
        return quotient, doubt

    def upper(self, error: float) -> Upper:
        """Bound on the largest eigenvalue of the true matrices, each within ``error`` (spectral norm) of the one given.

        A factorisation that ends has ``R^T R = S + D``, ``|D_ij| <= g/(1-g) sqrt(S_ii S_jj)`` with ``g = gamma_{n+2}``
        in any order of the sums, a pivot's reciprocal in place of a division included (Higham, Accuracy and Stability,
        Theorem 10.3; Demmel): ``||D|| <= g/(1-g) trace S <= g/(1-g) n level``. The diagonal is shifted with an error
        of ``u level``. The factor 2 leaves room for underflow, a level being no less than its floor.
        """
        return sum_up((self.level, up(2 * gamma(self.order + 4) * self.order * self.level), error))

    def lower(self, error: float) -> Lower:
        """Bound from below, under the same ``error``."""
        return Lower(max(0.0, down(self.found - error)))


def cholesky_succeeds(level: float, matrix: Array, work: Array) -> bool:
    """Whether ``level I - H`` factorises. ``work``, as large as ``H`` and in Fortran order, is overwritten."""
    for block in _lower_blocks(len(matrix)):
        np.negative(matrix[block], out=work[block])
    np.einsum("ii->i", work)[...] += level
    factor, info = lapack.dpotrf(work, lower=1, clean=0, overwrite_a=1)
    return info == 0 and bool(np.isfinite(factor.diagonal()).all())


def _lower_blocks(order: int) -> Iterator[tuple[slice, slice]]:
    """Blocks that hold the lower triangle and little more: half the memory to go through."""
    for first in range(0, order, BLOCK):
        yield slice(first, None), slice(first, first + BLOCK)


def times(matrix: npt.NDArray[Any], vector: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``H v``, in the precision of both."""
    multiply = blas.dsymv if matrix.dtype == np.float64 else blas.ssymv
    product: npt.NDArray[Any] = multiply(1.0, matrix, vector, lower=1)
    return product


def top_eigenvector(matrix: Array, work: Array, *, tolerance: float, careful: bool) -> tuple[Array, float]:
    """An estimate of an eigenvector for the largest eigenvalue.

    With it, how far its Rayleigh quotient seems to lie below the eigenvalue, relative. ``work`` as of
    :func:`cholesky_succeeds`.
    """
    order = len(matrix)
    if careful or order < LANCZOS_FROM:
        vectors: Array = eigh(matrix, subset_by_index=(order - 1, order - 1), check_finite=False)[1]
        if not vectors.size:  # LAPACK's subset may miss an eigenvalue that others equal, without a word
            vectors = eigh(matrix, driver="evd", check_finite=False)[1]
        return vectors[:, -1], 0.0
    return lanczos(matrix, work, np.random.default_rng(order).standard_normal(order), tolerance)


def lanczos(matrix: Array, work: Array, start: Array, tolerance: float) -> tuple[Array, float]:
    """The top Ritz vector, once its Rayleigh quotient seems to err by ``tolerance`` relative, and by how much it does.

    In float32, which errs to second order only in the quotient. The tolerance doubles with every 32 steps: where the
    spectrum is dense, more of them cost more than they give. Orthogonalised in full: Parlett, The Symmetric Eigenvalue
    Problem, ch. 13.
    """
    narrow = np.ndarray(matrix.shape, np.float32, work, order="F")  # in the same memory
    for block in _lower_blocks(len(matrix)):
        narrow[block] = matrix[block]
    steps = min(len(matrix), MOST_STEPS)
    basis = np.empty((steps + 1, len(matrix)), dtype=np.float32)
    basis[0] = start / np.linalg.norm(start)
    diagonal, off = np.empty(steps), np.empty(steps)
    for k in range(steps):
        vector = times(narrow, basis[k])
        diagonal[k] = basis[k] @ vector
        for before in (basis[max(0, k - 1) : k + 1], basis):  # what is large goes first: its rounding is then small
            vector -= (before[: k + 1] @ vector) @ before[: k + 1]
        off[k] = math.sqrt(vector @ vector)
        exhausted = off[k] <= 2.0**-20 * abs(diagonal[k]) or k + 1 == steps
        if exhausted or (k >= FIRST_CHECK and (k + 1) % CHECK_EVERY == 0):
            values, ritz = eigh_tridiagonal(
                diagonal[: k + 1], off[:k], select="i", select_range=(max(0, k - 1), k), check_finite=False
            )
            # the residual bounds the error of the value; its square over the gap is what it comes to
            residual, gap = off[k] * abs(ritz[-1, -1]), values[-1] - values[0]
            doubt = (residual * residual / gap if gap > residual else residual) / values[-1]
            if residual <= 2.0**-21 * values[-1]:  # rounding, of which the quotient in float64 has none
                doubt = 0.0
            if exhausted or doubt <= tolerance * 2 ** (k / 32):
                break
        basis[k + 1] = vector / off[k]
    top = ritz[:, -1] @ basis[: k + 1].astype(np.float64)
    return top, min(doubt, tolerance * 2 ** (k / 32))
