"""Batches of Hermitian blocks: one that proves by Cholesky, and estimates that propose.
Formulas: docs/numerics.md 2.2.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
from scipy.linalg.lapack import dtrtrs, zpotrf, ztrtrs

Array = npt.NDArray[np.float64]
Blocks = npt.NDArray[Any]  # (B, m, n), float64 or complex128

LANCZOS_FROM = 128  # below this order a full eigendecomposition is quicker than Lanczos
BATCHED_UP_TO = 16  # order up to which a call for each block costs more than its arithmetic


def adjoint(blocks: Blocks) -> Blocks:
    """The conjugate transpose of each."""
    made: Blocks = blocks.conj().swapaxes(-1, -2)
    return made


def is_complex(blocks: Blocks) -> bool:
    """Whether they are blocks of a Fourier transform."""
    return blocks.dtype.kind == "c"


def real(blocks: Blocks) -> Array:
    """Real blocks of the same norms, twice the size of complex ones."""
    if is_complex(blocks):
        above = np.concatenate([blocks.real, -blocks.imag], axis=2)
        blocks = np.concatenate([above, np.concatenate([blocks.imag, blocks.real], axis=2)], axis=1)
    return np.ascontiguousarray(blocks)


def gathered(blocks: Blocks) -> Array:
    """Complex blocks (B, m, n) whose real parts of what they make add up, as one real matrix (1, m, 2 B n)."""
    parts = np.concatenate([blocks.real, blocks.imag], axis=2)
    return parts.transpose(1, 0, 2).reshape(1, blocks.shape[1], -1)


def parted(whole: Array, count: int) -> Blocks:
    """The complex blocks (``count``, m, n) of which :func:`gathered` makes ``whole``."""
    split = whole.reshape(whole.shape[1], count, 2, -1).transpose(1, 2, 0, 3)
    made: Blocks = split[:, 0] + 1j * split[:, 1]
    return made


def diagonal_of(blocks: Blocks) -> Blocks:
    """(B, n) the diagonals, as a view to write to."""
    view: Blocks = np.einsum("bii->bi", blocks)
    return view


def solved(factors: Blocks, right: Blocks, *, adjointly: bool = False) -> Blocks:
    """(B, n, m): ``L^{-1} R``, or ``L^{-H} R``, by substitution, for lower triangles (B, n, n) and R (B or 1, n, m)."""
    solve, trans = ztrtrs if is_complex(factors) else dtrtrs, 2 if adjointly else 0
    made = np.empty((len(factors), *right.shape[1:]), dtype=factors.dtype)
    for i, factor in enumerate(factors):
        made[i], info = solve(factor, right[min(i, len(right) - 1)], lower=1, trans=trans)
        if info:
            raise ArithmeticError("a triangle is singular")
    return made


def positive_definite(minus: Blocks, levels: Array) -> npt.NDArray[np.bool_]:
    """Whether Cholesky of each ``level I - H`` runs to its end, given ``-H`` (B, n, n), which is overwritten."""
    diagonal = diagonal_of(minus)
    diagonal += levels[:, np.newaxis]
    if minus.shape[-1] <= BATCHED_UP_TO:
        return _factorise(minus)
    result = np.zeros(len(minus), dtype=bool)
    for i, matrix in enumerate(minus):
        factor, info = zpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        result[i] = info == 0 and bool(np.isfinite(factor.diagonal().real).all())
    return result


def _factorise(blocks: Blocks) -> npt.NDArray[np.bool_]:
    """Cholesky of all blocks (B, n, n) at once, column after column, of the lower triangles and in place."""
    succeeded = np.ones(len(blocks), dtype=bool)
    for k in range(blocks.shape[-1]):
        pivot = blocks[:, k, k].real
        succeeded &= (pivot > 0) & np.isfinite(pivot)
        root = np.sqrt(np.where(succeeded, pivot, 1.0))
        column = blocks[:, k + 1 :, k] * (1 / root)[:, np.newaxis]
        blocks[:, k + 1 :, k + 1 :] -= column[:, :, np.newaxis] * column.conj()[:, np.newaxis]
    return succeeded


def top_eigenvectors(block: Blocks, count: int, *, careful: bool = False) -> tuple[float, Blocks]:
    """The largest eigenvalue of a Hermitian block and the eigenvectors (n, count) of the largest ones: estimates."""
    n = len(block)
    if n >= LANCZOS_FROM and not careful:
        try:
            start = np.random.default_rng(n).standard_normal(n)
            values, found = scipy.sparse.linalg.eigsh(block, k=count, which="LA", v0=start, tol=1e-7, maxiter=40)
            return float(values[-1]), found
        except scipy.sparse.linalg.ArpackError:
            pass  # close eigenvalues: the full decomposition does not mind
    spectrum, vectors = np.linalg.eigh(block)
    return float(spectrum[-1]), vectors[:, -count:]


def power(blocks: Blocks, *, steps: int) -> Array:
    """``||H v||`` for a unit vector v after a few power steps on each block (B, n, n): estimates from below."""
    vectors: Blocks = np.random.default_rng(0).standard_normal((1, blocks.shape[-1], 1))
    for _ in range(steps):
        vectors = blocks @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    norms: Array = np.linalg.norm(blocks @ vectors, axis=(1, 2))
    return norms
