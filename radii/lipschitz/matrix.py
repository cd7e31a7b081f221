"""The spectral norm of a matrix, as a pair of proved bounds."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from radii.lipschitz.eigen import LargestEigenvalue
from radii.lipschitz.rounding import (
    Lower,
    Upper,
    as_float64,
    certified_arithmetic,
    down,
    gamma,
    ldexp_down,
    ldexp_up,
    scaled,
    sum_up,
    up,
)


@dataclass(frozen=True, slots=True)
class NormBound:
    """``lower <= norm <= upper``, rounding included.

    Attributes:
        method: how the upper bound was proved: ``zero`` (all weights are 0), ``gram`` (Gram product and Cholesky of
            the matrix itself), ``torus`` (the same of every Fourier block of a circular operator that holds the layer).
        iterations: how many Cholesky factorisations it took.
        slack: the part of ``upper`` that is there for rounding, relative to the rest: for information.
        torus: pixels per axis of the circular operator that holds a convolution; None for a matrix.
    """

    upper: Upper
    lower: Lower
    method: str
    iterations: int
    slack: float = 0.0
    torus: tuple[int, ...] | None = None


ZERO = NormBound(Upper(0.0), Lower(0.0), "zero", 0)


def matrix_norm(weight: npt.ArrayLike | torch.Tensor, *, rtol: float = 1e-6) -> NormBound:
    """The largest singular value of a real matrix (m, n), proved from above to about ``rtol`` relative.

    Any scale that float64 holds is safe. The Gram matrix of the smaller side is formed once in float64, and the
    bound on its largest eigenvalue verified by Cholesky (:mod:`radii.lipschitz.eigen`).

    Raises:
        NonFiniteWeights: a weight is NaN or infinite.
        ValueError: not a real matrix, or ``rtol`` outside (0, 1).
    """
    matrix = as_float64(weight)
    if matrix.ndim != 2:
        raise ValueError(f"a matrix has 2 axes, this has shape {matrix.shape}")
    check_rtol(rtol)
    return gram_bound(matrix[np.newaxis], rtol)


def check_rtol(rtol: float) -> None:
    """Raises ValueError outside (0, 1)."""
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, not {rtol}")


@certified_arithmetic()
def gram_bound(matrices: npt.NDArray[np.float64], rtol: float, *, error: float = 0.0) -> NormBound:
    """Bounds the largest spectral norm among finite matrices (B, m, n).

    Args:
        error: how far (spectral norm) each matrix may be from the one meant.
    """
    matrices, exponent = scaled(matrices)
    if not matrices.any():
        return ZERO if error == 0 else NormBound(up(error), Lower(0.0), "gram", 0)
    tall = torch.from_numpy(matrices if matrices.shape[1] >= matrices.shape[2] else matrices.transpose(0, 2, 1))
    inner, order = tall.shape[1:]
    eigenvalue = LargestEigenvalue(order, rtol=rtol, floor=0.25)  # the largest entry is at least 1/2
    eigenvalue.add(tall.mT @ tall)
    frobenius = float(torch.linalg.matrix_norm(tall).max()) * (1 + gamma(inner * order + 8))
    # ||fl(G^T G) - G^T G||_F <= gamma_{k+2} ||G||_F^2, and as much again for the mirrored triangle
    rounding = up(2 * gamma(inner + 4) * frobenius * frobenius)
    squared = eigenvalue.upper(rounding)
    upper = ldexp_up(up(math.sqrt(squared)), exponent)
    lower = ldexp_down(max(0.0, down(math.sqrt(eigenvalue.lower(rounding)))), exponent)
    if error:
        upper, lower = sum_up((upper, error)), Lower(max(0.0, down(lower - error)))
    return NormBound(upper, lower, "gram", eigenvalue.factorisations, math.sqrt(squared / eigenvalue.level) - 1)
