"""Operators that are none of ONNX's default domain, and are read as those of it that they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from radii.graph.call import Call
from radii.graph.errors import hold
from radii.graph.operator import Operator
from radii.graph.ops.activation import Erf
from radii.graph.ops.elementwise import Mul, Sub

CLASSICAL = "ai.onnx.ml"  # the domain of classical machine learning


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one such operator, of one input, is read: as others, one after another."""

    domain: str
    attributes: Mapping[str, str]
    read: Callable[[Call], tuple[Operator, ...]]


def _complement(call: Call) -> tuple[Operator, ...]:
    return Erf(), Sub(np.array(1, np.float32), constant_first=True)


def _scaled(call: Call) -> tuple[Operator, ...]:
    """``(x - offset) * scale`` on vectors, each one number for all features, or one a feature."""
    offset, scale = (np.array(call.get(name, ()), np.float32) for name in ("offset", "scale"))
    (features,) = call.activation().shape
    hold(offset.size == scale.size and scale.size in (1, features), "there is not one offset and scale a feature")
    return Sub(offset), Mul(scale)


SPELLINGS = {
    "Erfc": Spelling("", {}, _complement),  # which Keras writes for 1 - erf
    "Scaler": Spelling(CLASSICAL, {"offset": "floats", "scale": "floats"}, _scaled),
}
