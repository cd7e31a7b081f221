"""Cross-entropies that ask for a margin: for networks whose Lipschitz constant is known, radii are margins."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def margin_cross_entropy(
    logits: Tensor, labels: Tensor, *, margin: float | Tensor = 0.0, temperature: float | Tensor = 1.0
) -> Tensor:
    """``T CE((z - m e_y)/T)``, the mean over the batch.

    The gradient of an input that has the margin vanishes once T is small; where T is large the loss goes on asking for
    more. With ``m = 0`` and ``tau = 1/T`` it is ``CE(tau z)/tau`` of Bethune et al. (NeurIPS 2022, arXiv 2104.05097),
    with both the loss of Prach and Lampert (ECCV 2022, arXiv 2208.03160). Behind a 1-Lipschitz network a margin of
    ``sqrt(2) r`` is a radius of r.

    Args:
        logits: (batch, classes).
        labels: (batch,).
        margin: m, in logits, or (batch,).
        temperature: T, in logits.
    """
    each = torch.as_tensor(margin, dtype=logits.dtype, device=logits.device).reshape(-1, 1)
    lowered = logits - functional.one_hot(labels, logits.shape[1]) * each
    return (temperature * functional.cross_entropy(lowered / temperature, labels, reduction="none")).mean()


def lmt_margin(radius: float, lipschitz: float | Tensor) -> float | Tensor:
    """``sqrt(2) L r``: the margin of Lipschitz-margin training, for :func:`margin_cross_entropy`.

    No change of l2 norm r closes it, if the logits are L-Lipschitz. (Tsuzuku et al., NeurIPS 2018, arXiv 1802.04034.)

    Args:
        radius: r, in units of the input.
        lipschitz: L; where it is an estimate that depends on the weights (:class:`radii.training.LayerNorms`), the
            gradient goes through it.
    """
    return math.sqrt(2) * radius * lipschitz


def activation_decay(features: Tensor, sigma: float, *, bias: bool = False) -> Tensor:
    """The mean over the batch of ``sigma^2 ||h||^2/2``: what flattens the loss in the weights that read h.

    Added to the cross-entropy it bounds the mean cross-entropy under noise ``W + sigma E`` in the last layer, E
    Gaussian.

    Args:
        features: (batch, ...): h, what the last layer reads.
        sigma: the standard deviation of the noise.
        bias: whether the bias has noise as well, which adds 1 to ``||h||^2``.
    """
    return activation_margin(features, sigma, bias=bias).mean() / 2


def activation_margin(features: Tensor, sigma: float, *, bias: bool = False) -> Tensor:
    """``sigma^2 ||h||^2`` (batch,): the sharper form, as the ``margin`` of :func:`margin_cross_entropy`.

    ``CE(z - sigma^2 ||h||^2 e_y)`` bounds the same mean under noise as :func:`activation_decay`, and is not always but
    mostly the smaller bound; its gradient ends where the margin is won.
    """
    return sigma**2 * (features.flatten(1).square().sum(1) + float(bias))
