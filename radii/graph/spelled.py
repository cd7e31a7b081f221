"""Nodes that are read as operators of other names, one after another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from radii.graph import quantised
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator
from radii.graph.ops.activation import Erf, Sigmoid
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Mul, Sub
from radii.graph.ops.linear import Gemm, MatMul
from radii.graph.ops.normalization import Softmax
from radii.graph.ops.pool import AveragePool
from radii.graph.ops.select import Gather
from radii.graph.remedies import BLACK_OP
from radii.graph.units import DOMAIN
from radii.graph.views import View, axis_shifted, broadcast_shifted, by_channel

CLASSICAL = "ai.onnx.ml"  # the domain of classical machine learning


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one such node is read: as others, one after another, of which only the first may read several activations."""

    domain: str
    attributes: Mapping[str, str]
    read: Callable[[Call], tuple[Operator, ...]]
    inputs: int = 1
    viewed: Callable[[Call], View | None] | None = None  # as in `Operator`
    output: int = 0  # which of its outputs is read
    entrywise: bool = False  # each entry is the same function of the input's entry there


def _complement(call: Call) -> tuple[Operator, ...]:
    return Erf(), Sub(np.array(1, np.float32), constant_first=True)


def _scaled(call: Call) -> tuple[Operator, ...]:
    """``(x - offset) * scale`` on vectors, each one number for all features, or one a feature."""
    offset, scale = (np.array(call.get(name, ()), np.float32) for name in ("offset", "scale"))
    (features,) = call.activation().shape
    hold(offset.size == scale.size and scale.size in (1, features), "there is not one offset and scale a feature")
    return Sub(offset), Mul(scale)


def _classified(call: Call) -> tuple[Operator, ...]:
    """The scores of a LinearClassifier with a row of coefficients a class, as probabilities where it says so."""
    if call.get("post_transform", "NONE") not in _ENDS:
        raise Refusal(f"its post_transform is none of {', '.join(_ENDS)}", BLACK_OP)
    rows = len(call.get("intercepts", ()))
    labels = call.get("classlabels_ints") or call.get("classlabels_strings") or ()
    if not len(labels) == rows > 1:  # of one row the runtime makes a second
        raise Refusal("it has not one row of coefficients a class", BLACK_OP)
    return _affine(call, rows), *_ENDS[call.get("post_transform", "NONE")]


def _regressed(call: Call) -> tuple[Operator, ...]:
    targets = call.get("targets", 1)
    hold(call.get("post_transform", "NONE") == "NONE" and targets > 0, "it does more than multiply and add")
    return (_affine(call, targets),)


def _affine(call: Call, rows: int) -> Operator:
    """``W x + b`` on vectors, its constants given as attributes."""
    weight = np.array(call.get("coefficients", ()), np.float32)
    bias = np.array(call.get("intercepts") or np.zeros(rows), np.float32)
    (features,) = call.activation().shape
    hold(weight.size == rows * features > 0 and bias.size == rows, "it has not one coefficient a feature and row")
    return Gemm(weight.reshape(rows, features), bias)


def _picked(call: Call) -> tuple[Operator, ...]:
    """Some of the last axis."""
    shape, indices = call.activation().shape, call.constant(1)
    if indices is None or indices.dtype.kind not in "iu" or not shape:
        raise Refusal("it picks no constant entries of a sample", BLACK_OP)
    return (Gather(indices.reshape(-1).astype(np.int64), len(shape) - 1),)


_ENDS: Mapping[str, tuple[Operator, ...]] = {"NONE": (), "SOFTMAX": (Softmax(0, False),), "LOGISTIC": (Sigmoid(),)}
_COEFFICIENTS = {"coefficients": "floats", "intercepts": "floats", "post_transform": "string"}


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
    "Erfc": Spelling("", {}, _complement, entrywise=True),  # which Keras writes for 1 - erf
    "Scaler": Spelling(CLASSICAL, {"offset": "floats", "scale": "floats"}, _scaled),
    "LinearClassifier": Spelling(
        CLASSICAL,
        {**_COEFFICIENTS, "classlabels_ints": "ints", "classlabels_strings": "strings", "multi_class": "int"},
        _classified,
        output=1,
    ),
    "LinearRegressor": Spelling(CLASSICAL, {**_COEFFICIENTS, "targets": "int"}, _regressed),
    "ArrayFeatureExtractor": Spelling(CLASSICAL, {}, _picked, inputs=2),
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
