"""Diagonals that dominate a Gram matrix: what makes SLL, AOL and spectral rescaling 1-Lipschitz.

For a symmetric M and any positive q, ``M <= diag(rowsum |M|_ij q_j/q_i)`` (Gershgorin). A power ``M^p <= diag(D)`` of a
positive M gives ``M <= diag(D^(1/p))``, since roots keep the order (Loewner and Heinz), and that is tighter: for p =
2^(t-1) after t Gram steps. In a convolution the rows are output channels, and the sum runs over all shifts, so that the
bound holds on any torus and under zero padding, which is a part of one. (Araujo et al., ICLR 2023, arXiv 2303.03169;
Prach and Lampert, ECCV 2022, arXiv 2208.03160; spectral rescaling: Delattre et al., arXiv 2305.16173 and 2402.00240.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from radii.layers.maps import Dense, LinearMap

DENSE = Dense()


def row_bound(weight: Tensor, on: LinearMap = DENSE, *, log_q: Tensor | None = None, steps: int = 1) -> Tensor:
    """T (outputs,) with ``W W^T <= diag(T)``, rounding aside; 0 where a row is zero. Differentiable.

    Args:
        weight: (outputs, inputs), or of a convolution (outputs, inputs, height, width).
        on: how the weight acts.
        log_q: (outputs,) the logarithms of q; unless said, zeros.
        steps: t, at least 1; each but the first squares the Gram matrix once more.
    """
    return _dominating(on.output_gram(weight), on, log_q, steps)


def column_factor(weight: Tensor, on: LinearMap = DENSE, *, steps: int = 1) -> Tensor:
    """D (inputs,) with ``||W diag(D)|| <= 1``, rounding aside; 0 where a column is zero. Differentiable."""
    bound = _dominating(on.input_gram(weight), on, None, steps)
    return bound.where(bound > 0, 1).rsqrt().where(bound > 0, 0)


def reciprocal(bound: Tensor) -> Tensor:
    """``1/T``, 0 where T is 0."""
    return bound.where(bound > 0, 1).reciprocal().where(bound > 0, 0)


def _dominating(power: Tensor, on: LinearMap, log_q: Tensor | None, steps: int) -> Tensor:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    log_size = torch.zeros((), dtype=power.dtype, device=power.device)
    for _ in range(steps - 1):
        # its size is kept as a logarithm, so that no power overflows
        largest = power.detach().abs().amax()
        largest = largest.where(largest > 0, 1)
        power = on.squared(power / largest)
        log_size = 2 * (log_size + largest.log())
    moduli = power.abs().flatten(2).sum(-1) if power.ndim > 2 else power.abs()
    if log_q is not None:
        moduli = moduli * (log_q[None, :] - log_q[:, None]).exp()
    sums = moduli.sum(1)
    bound = ((sums.where(sums > 0, 1).log() + log_size) * 0.5 ** (steps - 1)).exp()
    return bound.where(sums > 0, 0)
