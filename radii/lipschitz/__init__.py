"""Deterministic bounds: spectral norms of layers, Lipschitz constants of networks, certified radii.

Needs torch, numpy and SciPy alone. Every bound is proved, rounding included: an estimate only proposes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radii.lipschitz.conv import conv_norm
from radii.lipschitz.margin import Margin, certified_accuracy, margin_radius
from radii.lipschitz.matrix import NormBound, matrix_norm
from radii.lipschitz.network import LayerBound, NetworkBound, network_bound
from radii.lipschitz.norms import UnboundedModel
from radii.lipschitz.rounding import EmulatedFloat64, LayerTooLarge, NonFiniteWeights

if TYPE_CHECKING:
    from radii.lipschitz.gram import gram_norm

__all__ = [
    "EmulatedFloat64",
    "LayerBound",
    "LayerTooLarge",
    "Margin",
    "NetworkBound",
    "NonFiniteWeights",
    "NormBound",
    "UnboundedModel",
    "certified_accuracy",
    "conv_norm",
    "gram_norm",
    "margin_radius",
    "matrix_norm",
    "network_bound",
]


def __getattr__(name: str) -> Any:
    """What differentiates: imported when it is asked for, since bounds need no torch."""
    if name == "gram_norm":
        from radii.lipschitz.gram import gram_norm

        return gram_norm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
