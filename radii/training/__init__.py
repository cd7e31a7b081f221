"""Losses and regularisers for networks that are going to be certified: plain functions and small modules. Needs torch.

docs/training.md says which recipe is for which certificate. Nothing here proves anything: certificates are made from
the exported file. The norm of a single weight is :func:`radii.lipschitz.gram_norm`.
"""

from radii.training.margins import activation_decay, activation_margin, lmt_margin, margin_cross_entropy
from radii.training.noise import SoftScoreLoss, consistency, noisy, noisy_cross_entropy
from radii.training.norms import LayerNorms, spectral_penalty

__all__ = [
    "LayerNorms",
    "SoftScoreLoss",
    "activation_decay",
    "activation_margin",
    "consistency",
    "lmt_margin",
    "margin_cross_entropy",
    "noisy",
    "noisy_cross_entropy",
    "spectral_penalty",
]
