"""The spectral norm of a matrix, as a pair of proved bounds. Formulas: docs/numerics.md 2.1 and 2.2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from radii.lipschitz.dense.eigen import LargestEigenvalue
from radii.lipschitz.dense.iteration import gram_iteration, largest_entry
from radii.lipschitz.rounding import (
    Lower,
    NonFiniteWeights,
    Upper,
    as_float64,
    certified_arithmetic,
    check_finite,
    down,
    gamma,
    is_tensor,
    ldexp_down,
    ldexp_up,
    scaled,
    sum_up,
    up,
)

if TYPE_CHECKING:
    import torch

    from radii.lipschitz.dense.iteration import Array


@dataclass(frozen=True, slots=True)
class NormBound:
    """``lower <= norm <= upper``, rounding included.

    Attributes:
        method: how the upper bound was proved: ``zero`` (all weights are 0), ``gram`` (Gram iteration), ``cholesky``
            (Gram product and Cholesky factorisation of the matrix itself), ``torus`` (the same of the Fourier blocks
            of a circular operator that holds the layer), ``cells`` (of all frequencies: images of any size), ``slices``
            (of the weight, one by one: in a network whose budget is met).
        iterations: how many Gram products (``gram``) or Cholesky factorisations (the others) it took.
        slack: the part of ``upper`` that is there for rounding, relative to the rest: for information.
        torus: pixels per axis of the circular operator that holds a convolution; None for a matrix, and for any size.
    """

    upper: Upper
    lower: Lower
    method: str
    iterations: int
    slack: float = 0.0
    torus: tuple[int, ...] | None = None


Method = Literal["auto", "gram", "cholesky"]

UNSCALED_UP_TO = 2.0**60  # a squared Frobenius norm, or its reciprocal: float32 holds such Gram matrices with room
PANEL = 512  # rows per call of BLAS, during which no other Python thread runs

ZERO = NormBound(Upper(0.0), Lower(0.0), "zero", 0)


def matrix_norm(weight: npt.ArrayLike | torch.Tensor, *, rtol: float = 1e-6, method: str = "auto") -> NormBound:
    """The largest singular value of a real matrix (m, n), proved from above to about ``rtol`` relative.

    Any scale that float64 holds is safe. The arithmetic is float64 whatever the weight's type. Gram iteration runs
    where the weight lies, all else on the CPU: a GPU's triangular solves are not known to keep the bounds of Cholesky.

    Args:
        method: ``gram``: Gram iteration (:func:`radii.lipschitz.dense.iteration.gram_iteration` shows the bound after
            every step); ``cholesky``: one Gram product, an estimate of its largest eigenvalue, and a Cholesky
            factorisation that verifies it (:mod:`radii.lipschitz.dense.eigen`); ``auto``: the one that takes less work,
            on a GPU ``gram``.

    Raises:
        NonFiniteWeights: a weight is NaN or infinite.
        EmulatedFloat64: the weight lies on a GPU whose products may not be in float64.
        ValueError: not a real matrix, no such method, or ``rtol`` outside (0, 1).
    """
    check_rtol(rtol)
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    matrix: Array
    if is_tensor(weight) and weight.is_cuda and weight.is_floating_point() and method != "cholesky":
        matrix = weight.detach().double()
    else:
        matrix = as_float64(weight, checked=False)  # products will find out
    if matrix.ndim != 2:
        raise ValueError(f"a matrix has 2 axes, this has shape {tuple(matrix.shape)}")
    steps = _enough_steps(min(matrix.shape), rtol)
    if is_tensor(matrix) or method == "gram" or (method == "auto" and steps <= 1):
        return _iteration_bound(matrix, rtol, steps)
    try:
        return gram_bound(matrix[np.newaxis], rtol)
    except ArithmeticError:
        check_finite(matrix)
        raise


def _enough_steps(order: int, rtol: float) -> int:
    """Gram products after which ``order^(2^-(steps+1)) <= 1 + rtol``: enough for any spectrum."""
    return max(0, math.ceil(math.log2(max(1.0, math.log(order) / math.log1p(rtol)))) - 1) if order > 1 else 0


@certified_arithmetic()
def _iteration_bound(matrix: Array, rtol: float, most: int) -> NormBound:
    largest = largest_entry(matrix)
    if not math.isfinite(largest):
        raise NonFiniteWeights("some weights are NaN or infinite")
    if largest == 0:
        return ZERO
    for step in gram_iteration(matrix):
        if step.steps >= most or step.upper <= step.lower * (1 + rtol):
            break
    return NormBound(step.upper, step.lower, "gram", step.steps, step.slack)


def check_rtol(rtol: float) -> None:
    """Raises ValueError outside (0, 1)."""
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1, not {rtol}")


@certified_arithmetic()
def gram_bound(matrices: npt.NDArray[np.float64], rtol: float, *, error: float = 0.0) -> NormBound:
    """Bounds the largest spectral norm among matrices (B, m, n).

    Args:
        error: how far (spectral norm) each matrix may be from the one meant.

    Raises:
        ArithmeticError: a matrix is not finite.
    """
    tall = matrices if matrices.shape[1] >= matrices.shape[2] else matrices.swapaxes(1, 2)
    exponent = 0  # bounds are of the matrices times 2^-exponent, but for the last two
    eigenvalue, trace = _largest_eigenvalue(tall, rtol)
    if not 1 / UNSCALED_UP_TO <= trace <= UNSCALED_UP_TO:
        tall, exponent = scaled(tall)
        eigenvalue, trace = _largest_eigenvalue(tall, rtol)
    if not math.isfinite(trace):
        raise ArithmeticError("a matrix is not finite")
    if trace == 0:
        return ZERO if error == 0 else NormBound(up(error), Lower(0.0), "cholesky", 0)
    # ||fl(G^T G) - G^T G||_F <= gamma_k ||G||_F^2, of which only one triangle is used
    rounding = up(gamma(tall.shape[1] + 4) * trace)
    squared = eigenvalue.upper(rounding)
    upper = ldexp_up(up(math.sqrt(squared)), exponent)
    lower = ldexp_down(max(0.0, down(math.sqrt(eigenvalue.lower(rounding)))), exponent)
    if error:
        upper, lower = sum_up((upper, error)), Lower(max(0.0, down(lower - error)))
    return NormBound(upper, lower, "cholesky", eigenvalue.factorisations, math.sqrt(squared / eigenvalue.level) - 1)


def _largest_eigenvalue(matrices: npt.NDArray[np.float64], rtol: float) -> tuple[LargestEigenvalue, float]:
    """Bounds on the Gram matrices of (B, m, n), as computed, and on the largest of their traces, ``||G||_F^2``.

    Where that is more than ``UNSCALED_UP_TO``, or no number, the rest is not looked at.
    """
    inner, order = matrices.shape[1:]
    largest = 0.0
    eigenvalue = LargestEigenvalue(order, rtol=rtol, floor=1 / UNSCALED_UP_TO / (2 * max(1, order)))
    for matrix in matrices:
        triangle = gram_triangle(np.ascontiguousarray(matrix))
        with np.errstate(over="ignore", invalid="ignore"):
            trace = float(triangle.trace()) * (1 + gamma(inner + order + 8))
        largest = largest if trace <= largest else trace  # NaN is the largest
        if not largest <= UNSCALED_UP_TO:
            break
        if trace > eigenvalue.level:  # else no eigenvalue is larger either
            eigenvalue.add(triangle, trace)
    return eigenvalue, largest


def gram_work(shape: tuple[int, ...]) -> int:
    """Multiply-adds of `gram_bound` on matrices (B, m, n), about: the Gram matrix and two factorisations."""
    count, (shorter, longer) = math.prod(shape[:-2]), sorted(shape[-2:])
    return count * (shorter**2 * (longer + shorter) // 2 + shorter**2)


def gram_triangle(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``G^T G`` of a matrix (m, n) in C order: in Fortran order, its lower triangle alone, at half the work."""
    triangle: npt.NDArray[np.float64] = np.zeros((matrix.shape[1],) * 2, order="F")
    for first in range(0, len(matrix), PANEL):
        rows = matrix[first : first + PANEL].T
        triangle = blas.dsyrk(1.0, rows, beta=1.0, c=triangle, lower=1, overwrite_c=1)
    return triangle
