"""Gram iteration with its rounding errors: a proved bound on a spectral norm after every step.

``||W|| <= ||G_t||_F^(1/2^t)`` with ``G_0 = W``, ``G_{t+1} = G_t^T G_t``; the logarithm of what it is too large by at
least halves with every step, whatever the spectrum. *(Delattre et al., ICML 2023, arXiv 2305.16173.)*

A computed product errs, so the roots are taken one step at a time: ``||G_t||^2 <= ||fl(G_t^T G_t)|| + error``. Every
iterate is rescaled by a power of two, whose exponent is kept; no number leaves the middle of float64's range.
Formulas: docs/numerics.md 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from radii.lipschitz.rounding import Lower, Upper, check_float64, down, gamma, is_tensor, ldexp_down, ldexp_up, up

if TYPE_CHECKING:
    import torch

    Array = npt.NDArray[np.float64] | torch.Tensor


@dataclass(frozen=True, slots=True)
class GramStep:
    """What is proved after ``steps`` Gram products: ``lower <= ||W|| <= upper``.

    Attributes:
        slack: the part of ``upper`` that is there for rounding, relative to the rest.
    """

    steps: int
    upper: Upper
    lower: Lower
    slack: float


@dataclass(frozen=True, slots=True)
class _Iterate:
    """The product before it (for the first, the matrix) is ``2^exponent A``, as computed, and ``||A||_F >= 1/2``.

    Attributes:
        upper, lower: bounds on ``||A||_F``.
        error: bound on ``||fl(A^T A) - A^T A||_F``.
    """

    exponent: int
    upper: Upper
    lower: Lower
    error: Upper


def gram_iteration(matrix: Array) -> Iterator[GramStep]:
    """Bounds on the spectral norm of a finite matrix (m, n), not all 0, after 0, 1, 2, ... Gram products, without end.

    ``upper`` rests on ``||G|| <= ||G||_F``, ``lower`` on ``||G|| >= ||G^T G||_F / ||G||_F``. The matrix is a float64
    array, or a float64 tensor on whose device the products are taken: their bounds hold for any order of the sums.

    Raises:
        EmulatedFloat64: that device may not take them in float64.
    """
    if is_tensor(matrix):
        check_float64(matrix.device)
    exponent = math.frexp(largest_entry(matrix))[1]
    # in two steps, since 2^1074 is no float64
    array = matrix * 2.0 ** (-exponent // 2) * 2.0 ** (-exponent - -exponent // 2)
    array = array if array.shape[0] >= array.shape[1] else array.T
    iterates = [_measured(array, 0)]
    while True:
        upper, plain = _upper(iterates)
        lower = _lower(iterates) if len(iterates) > 1 else down(iterates[0].lower / math.sqrt(array.shape[1]))
        slack = upper / plain - 1
        yield GramStep(len(iterates) - 1, ldexp_up(upper, exponent), ldexp_down(max(0.0, lower), exponent), slack)
        product = array.T @ array  # NumPy sees that it is symmetric, and does half the work
        power = math.frexp(_frobenius(product))[1]
        array = product * 2.0**-power
        iterates.append(_measured(array, power))


def largest_entry(array: Array) -> float:
    """The largest absolute value; NaN if there is one; 0 of an empty array."""
    if 0 in array.shape:
        return 0.0
    return float(array.abs().max() if is_tensor(array) else np.abs(array).max())


def _frobenius(array: Array) -> float:
    return float(array.norm() if is_tensor(array) else np.linalg.norm(array))


def _measured(array: Array, exponent: int) -> _Iterate:
    relative = gamma(math.prod(array.shape) + 8)
    frobenius = _frobenius(array)
    upper, lower = up(frobenius * (1 + relative)), down(frobenius * (1 - relative))
    # gamma_k suffices for the sums of k products; the rest covers underflow, here and in rescaling
    return _Iterate(exponent, upper, lower, up(gamma(len(array) + 4) * upper * upper))


def _upper(iterates: list[_Iterate]) -> tuple[float, float]:
    """Bound on ``||A||`` of the first iterate, and what it would be without rounding errors."""
    upper, plain = float(iterates[-1].upper), (iterates[-1].upper + iterates[-1].lower) / 2
    for before, after in reversed(list(pairwise(iterates))):
        upper = up(math.sqrt(up(math.ldexp(upper, after.exponent) + before.error)))
        plain = math.sqrt(math.ldexp(plain, after.exponent))
    return upper, plain


def _lower(iterates: list[_Iterate]) -> float:
    """Bound on ``||A||`` of the first of two or more iterates."""
    *_, last, product = iterates
    lower = down(down(math.ldexp(product.lower, product.exponent) - last.error) / last.upper)
    for before, after in reversed(list(pairwise(iterates[:-1]))):
        lower = down(math.sqrt(max(0.0, down(math.ldexp(lower, after.exponent) - before.error))))
    return lower
