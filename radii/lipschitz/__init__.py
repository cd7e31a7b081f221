"""Deterministic bounds: spectral norms of layers, Lipschitz constants of networks, certified radii.

Needs torch, numpy and SciPy alone. Every bound is proved, rounding included: an estimate only proposes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radii.lipschitz.convolution.conv import conv_norm
from radii.lipschitz.dense.matrix import NormBound, matrix_norm
from radii.lipschitz.network.bound import network_bound
from radii.lipschitz.network.margin import Margin, certified_accuracy, margin_radius
from radii.lipschitz.network.norms import UnboundedModel
from radii.lipschitz.network.result import LayerBound, NetworkBound
from radii.lipschitz.rounding import EmulatedFloat64, LayerTooLarge, NonFiniteWeights

if TYPE_CHECKING:
    from radii.lipschitz.dense.gram import gram_norm

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
        from radii.lipschitz.dense.gram import gram_norm

        return gram_norm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
