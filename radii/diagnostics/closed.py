"""Curvature of the softmax cross-entropy in closed form, with ``A(p) = diag(p) - p p^T``.

In a dense layer's weights one sample's Hessian is a Kronecker product with ``h h^T``, h the layer's input: of the last
layer exactly, of a deeper one behind which all is piecewise linear almost everywhere. In the logits of an input it is
``J^T A J``. Formulas: docs/diagnostics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BISECTIONS = 60  # of an interval within [0, 1]


@dataclass(frozen=True, slots=True)
class LastLayer:
    """The Hessian in the weights of the last dense layer, without its bias, over a batch.

    Attributes:
        trace: exact: the mean of ``(1 - |p|^2) |h|^2``.
        lambda_max_bound: no eigenvalue is larger: ``lmax(mean lmax(A) h h^T)``.
        mean_lambda_max: the mean of the samples' own largest eigenvalues, ``lmax(A) |h|^2``; no less than that.
        half_mean_square: ``mean |h|^2 / 2``, what activation decay takes down; the largest eigenvalue is at most that,
            the trace at most twice that.
    """

    trace: float
    lambda_max_bound: float
    mean_lambda_max: float
    half_mean_square: float


def last_layer(logits: Tensor, features: Tensor) -> LastLayer:
    """Of (N, K) logits and the (N, d) inputs of the layer that makes them."""
    p, squares = logits.softmax(1), features.square().sum(1)
    largest = softmax_lambda_max(p)
    moment = (features * largest[:, None]).T @ features / len(features)
    return LastLayer(
        trace=float(((1 - p.square().sum(1)) * squares).mean()),
        lambda_max_bound=float(torch.linalg.eigvalsh(moment)[-1]),
        mean_lambda_max=float((largest * squares).mean()),
        half_mean_square=float(squares.mean()) / 2,
    )


def softmax_lambda_max(p: Tensor) -> Tensor:
    """(N,) the largest eigenvalue of ``A(p)`` for each row of probabilities (N, K).

    It lies between the two largest, where ``sum p_i^2 / (p_i - x)`` rises through 1.
    """
    largest = p.topk(2, dim=1).values
    low, high = largest[:, 1].clone(), largest[:, 0].clone()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = (p.square() / (p - middle[:, None])).sum(1) < 1
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def softmax_curvature(logits: Tensor) -> Tensor:
    """(N, K, K) ``A(p)``, the Hessian of the cross-entropy in the logits, whatever the label."""
    p = logits.softmax(1)
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def dense_trace(logits: Tensor, jacobian: Tensor, features: Tensor) -> float:
    """The trace of the Hessian in a dense layer's weights: ``mean tr(J^T A J) |h|^2``.

    Args:
        jacobian: (N, K, m) of the logits in the layer's outputs, behind which all is piecewise linear.
        features: (N, d) the layer's inputs.
    """
    curvature = softmax_curvature(logits)
    inner = torch.einsum("nkm,nkl,nlm->n", jacobian, curvature, jacobian)
    return float((inner * features.square().sum(1)).mean())


def input_lambda_max(logits: Tensor, jacobian: Tensor) -> Tensor:
    """(N,) the largest eigenvalue of ``J^T A J``: the curvature of the loss in each input, of a piecewise linear
    network exactly (almost everywhere), of another one without its own bending. At most ``L^2 / 2``.

    Args:
        jacobian: (N, K, d) of the logits in the input.
    """
    p = logits.softmax(1)
    root = torch.diag_embed(p.sqrt()) - p[:, :, None] * p.sqrt()[:, None, :]  # root root^T = A
    rows = root.transpose(1, 2) @ jacobian.flatten(2)
    found: Tensor = torch.linalg.eigvalsh(rows @ rows.transpose(1, 2))[:, -1].clamp(min=0)
    return found
