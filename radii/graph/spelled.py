"""Nodes that are read as operators of other names, one after another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from radii.graph import quantised
from radii.graph.call import Call
from radii.graph.errors import hold
from radii.graph.operator import Operator
from radii.graph.ops.activation import Erf
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Mul, Sub
from radii.graph.ops.linear import Gemm, MatMul
from radii.graph.ops.pool import AveragePool
from radii.graph.units import DOMAIN
from radii.graph.views import View, axis_shifted, broadcast_shifted, by_channel

CLASSICAL = "ai.onnx.ml"  # the domain of classical machine learning


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one such node is read: only the first of its operators may read several activations."""

    domain: str
    attributes: Mapping[str, str]
    read: Callable[[Call], tuple[Operator, ...]]
    inputs: int = 1
    viewed: Callable[[Call], View | None] | None = None  # as in `Operator`; None: it is the same function of each entry


def _complement(call: Call) -> tuple[Operator, ...]:
    return Erf(), Sub(np.array(1, np.float32), constant_first=True)


def _scaled(call: Call) -> tuple[Operator, ...]:
    """``(x - offset) * scale`` on vectors, each one number for all features, or one a feature."""
    offset, scale = (np.array(call.get(name, ()), np.float32) for name in ("offset", "scale"))
    (features,) = call.activation().shape
    hold(offset.size == scale.size and scale.size in (1, features), "there is not one offset and scale a feature")
    return Sub(offset), Mul(scale)


def _by_axis(call: Call) -> View:
    return axis_shifted(call, 1)


def _conv(call: Call) -> View:
    return by_channel(call, repeated=range(3, 9), groups="group")


def _softmax(call: Call) -> View:
    return axis_shifted(call, 1 if call.opset < 13 else -1)


def _sum(operator: type[Operator], viewed: Callable[[Call], View | None]) -> Spelling:
    attributes = {**operator.attributes, **quantised.OWN}
    return Spelling(DOMAIN, attributes, partial(quantised.summed, operator.__name__), quantised.SUM_INPUTS, viewed)


_PAIR = {"axis": "int", "block_size": "int", "output_dtype": "int"}

SPELLINGS = {
    "Erfc": Spelling("", {}, _complement),  # which Keras writes for 1 - erf
    "Scaler": Spelling(CLASSICAL, {"offset": "floats", "scale": "floats"}, _scaled),
    "QuantizeLinear": Spelling("", {**_PAIR, "saturate": "flag", "precision": "int"}, quantised.quantize, 3, _by_axis),
    "DequantizeLinear": Spelling("", _PAIR, quantised.dequantize, 3, _by_axis),
    "ConvOfSteps": _sum(Conv, _conv),
    "GemmOfSteps": _sum(Gemm, Gemm.viewed),
    "MatMulOfSteps": _sum(MatMul, MatMul.viewed),
    "AddOfSteps": Spelling(DOMAIN, {}, quantised.added, 8, broadcast_shifted),
    "MulOfSteps": Spelling(DOMAIN, {}, quantised.multiplied, 8, broadcast_shifted),
    "AveragePoolOfSteps": Spelling(DOMAIN, AveragePool.attributes, quantised.pooled, 5, by_channel),
    "SoftmaxOfSteps": Spelling(DOMAIN, {"axis": "int"}, quantised.softmax, 5, _softmax),
    "GlobalAveragePoolOfSteps": Spelling(DOMAIN, {}, quantised.averaged, 5, by_channel),
}
