"""The operators, one file a family, and the registry of them all."""

from typing import Any

from radii.graph.ops import (
    activation,
    attention,
    blocks,
    conv,
    copies,
    elementwise,
    groupnorm,
    layout,
    linear,
    normalization,
    parametric,
    pool,
    reduce,
    resize,
    rounding,
    select,
    threshold,
    transposed,
    trigonometry,
)
from radii.graph.ops.registry import OPERATORS

__all__ = [
    "OPERATORS",
    "activation",
    "attention",
    "blocks",
    "conv",
    "copies",
    "elementwise",
    "groupnorm",
    "layout",
    "linear",
    "normalization",
    "operators",
    "parametric",
    "pool",
    "reduce",
    "resize",
    "rounding",
    "select",
    "threshold",
    "transposed",
    "trigonometry",
]


def operators() -> list[dict[str, Any]]:
    """What the service lists as supported, as JSON values: name, family, ONNX attributes, Lipschitz behaviour."""
    return [
        {
            "name": name,
            "family": cls.__module__.rpartition(".")[2],
            "attributes": sorted(cls.attributes),
            "lipschitz": cls.behaviour,
        }
        for name, cls in sorted(OPERATORS.items())
    ]
