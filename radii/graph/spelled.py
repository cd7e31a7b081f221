"""Operators that are none of ONNX's default domain, and are read as those of it that they stand for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator
from radii.graph.ops.activation import Erf, Sigmoid
from radii.graph.ops.elementwise import Mul, Sub
from radii.graph.ops.linear import Gemm
from radii.graph.ops.normalization import Softmax
from radii.graph.ops.select import Gather
from radii.graph.remedies import BLACK_OP

CLASSICAL = "ai.onnx.ml"  # the domain of classical machine learning


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one such operator is read: as others, one after another, of which only the first reads its inputs."""

    domain: str
    attributes: Mapping[str, str]
    read: Callable[[Call], tuple[Operator, ...]]
    inputs: int = 1
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
}
