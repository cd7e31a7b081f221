"""Batches of Hermitian blocks: one that proves by Cholesky, and estimates that propose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg.lapack import zpotrf
from scipy.sparse.linalg import ArpackError, eigsh

Array = npt.NDArray[np.float64]

LANCZOS_FROM = 128  # below this order a full eigendecomposition is quicker than Lanczos
BATCHED_UP_TO = 16  # order up to which a call for each block costs more than its arithmetic


def positive_definite(minus: torch.Tensor, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether Cholesky of each ``level I - H`` runs to its end, given ``-H`` (B, n, n), which is overwritten."""
    n = minus.shape[-1]
    minus.diagonal(dim1=-2, dim2=-1).add_(torch.from_numpy(levels)[:, np.newaxis])
    if n <= BATCHED_UP_TO:
        factor, info = torch.linalg.cholesky_ex(minus)
        pivots = factor.diagonal(dim1=-2, dim2=-1).real
        succeeded: npt.NDArray[np.bool_] = ((info == 0) & torch.isfinite(pivots).all(dim=-1)).numpy()
        return succeeded
    result = np.zeros(len(minus), dtype=bool)
    for i, matrix in enumerate(minus.numpy()):
        factor, info = zpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        result[i] = info == 0 and bool(np.isfinite(factor.diagonal().real).all())
    return result


def top_eigenvectors(block: torch.Tensor, count: int, *, careful: bool = False) -> tuple[float, torch.Tensor]:
    """The largest eigenvalue of a Hermitian block and the eigenvectors (n, count) of the largest ones: estimates."""
    n = len(block)
    if n >= LANCZOS_FROM and not careful:
        try:
            start = np.random.default_rng(n).standard_normal(n)
            values, found = eigsh(block.numpy(), k=count, which="LA", v0=start, tol=1e-7, maxiter=40)
            return float(values[-1]), torch.from_numpy(np.ascontiguousarray(found))
        except ArpackError:
            pass  # close eigenvalues: the full decomposition does not mind
    spectrum, vectors = torch.linalg.eigh(block)
    return float(spectrum[-1]), vectors[:, -count:]


def power(blocks: torch.Tensor, *, steps: int) -> Array:
    """``||H v||`` for a unit vector v after a few power steps on each block (B, n, n): estimates from below."""
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((blocks.shape[-1], 1)))
    vectors = start.to(blocks).expand(len(blocks), -1, -1)
    for _ in range(steps):
        vectors = torch.nn.functional.normalize(blocks @ vectors, dim=1)
    norms: Array = torch.linalg.vector_norm(blocks @ vectors, dim=(1, 2)).numpy()
    return norms
