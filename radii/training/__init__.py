"""Losses and regularisers for networks that are going to be certified: plain functions and small modules. Needs torch.

docs/training.md says which recipe is for which certificate. Nothing here proves anything: certificates are made from
the exported file.
"""

from radii.training.margins import activation_decay, activation_margin, lmt_margin, margin_cross_entropy
from radii.training.noise import SoftScoreLoss, consistency, noisy, noisy_cross_entropy
from radii.training.norms import LayerNorms, spectral_penalty
from radii.training.spectral import spectral_norm

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
    "spectral_norm",
    "spectral_penalty",
]
