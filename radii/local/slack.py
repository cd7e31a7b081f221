"""What rounding may lose, in float64 tensors. Formulas: docs/numerics.md 11.1.

A tensor is pushed outward by ``|t| 2^-50``, eight times what one operation may lose, and by `TINY`, far more than an
underflow. That is arithmetic, not `nextafter`, so that gradients pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from radii.lipschitz.rounding import check_float64
from radii.lipschitz.rounding import gamma as gamma_of

STEP = 2.0**-50
TINY = 2.0**-990  # more than 2^30 products lose by underflow, also where what is not normal is taken for 0


def gamma(addends: int) -> float:
    """Twice the relative error of a sum of so many products, and of 64 roundings more: the second one is for the
    rounding of what it is multiplied by."""
    return 2 * gamma_of(addends + 64)


def raised(value: Tensor) -> Tensor:
    """Above what a few operations approximate."""
    return value + (value.abs() * STEP + TINY)


def lowered(value: Tensor) -> Tensor:
    """Below it."""
    return value - (value.abs() * STEP + TINY)


def known(value: Tensor, otherwise: float) -> Tensor:
    """The numbers that are some; what overflowed, or came of what did, is ``otherwise``."""
    return torch.where(value.isfinite(), value, otherwise)


def flat_dot(forms: Tensor, vectors: Tensor) -> Tensor:
    """(N, R) inner products of forms (N or 1, R, *shape) with vectors (N or 1, *shape)."""
    columns = vectors.flatten(1)
    n, rows = max(len(forms), len(columns)), forms.flatten(2)
    if len(columns) == 1:
        return (rows @ columns[0]).expand(n, -1)
    if len(rows) == 1:
        return columns @ rows[0].T
    return (rows * columns[:, None]).sum(2)  # a third of the time that a batch of matrix-vector products takes


@contextmanager
def certified(device: torch.device) -> Iterator[None]:
    """Plain sums of products in float64: no autocast, and of convolutions no algorithm but matrix products."""
    check_float64(device)
    with (
        np.errstate(all="ignore"),
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=False),
    ):
        yield
