"""Arithmetic on constants and sizes, entry by entry, and along axes; integers as ONNX has them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from radii.graph.affine import Affine
from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import MANY, REMEDY, Array, check_size, folds, given, one_integer


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.divide(a, b, dtype=a.dtype)
    if a.dtype == object or b.dtype == object:
        return np.floor_divide(a, b)
    if not np.all(b):
        raise Refusal("an integer is divided by zero", REMEDY)
    return np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)  # ONNX truncates toward zero


def _power(a: Array, b: Array) -> Array:
    return np.power(a, b.astype(a.dtype)) if a.dtype.kind == "f" else np.power(a, b).astype(a.dtype)


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": _power,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}
_BOOLEAN: dict[str, Callable[..., Array]] = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
}
# Of integers and truth values too; functions of floats alone are run as the operators run them.
_UNARY: dict[str, Callable[[Array], Array]] = {"Neg": np.negative, "Abs": np.abs, "Sign": np.sign}


@folds(*_BINARY, *_BOOLEAN, inputs=2)
def _binary(call: Call) -> Array:
    a, b = given(call, 0), given(call, 1)
    check_size(call, np.broadcast_shapes(a.shape, b.shape))
    if call.operator in _BINARY:
        return np.asarray(_BINARY[call.operator](a, b))
    return np.asarray(_BOOLEAN[call.operator](a, b)).astype(bool)


@folds(*_UNARY)
def _unary(call: Call) -> Array:
    return np.asarray(_UNARY[call.operator](given(call, 0)))


@folds("Not")
def _not(call: Call) -> Array:
    return np.logical_not(given(call, 0)).astype(bool)


@folds("IsNaN")
def _is_nan(call: Call) -> Array:
    return np.isnan(given(call, 0))


@folds("IsInf", detect_positive="flag", detect_negative="flag")
def _is_inf(call: Call) -> Array:
    value = given(call, 0)
    positive, negative = np.isposinf(value), np.isneginf(value)
    return (positive & bool(call.get("detect_positive", 1))) | (negative & bool(call.get("detect_negative", 1)))


def _remainder(a: Any, b: Any) -> Any:
    if isinstance(a, Affine) and not isinstance(b, Affine) and b and a.slope % b == 0:
        return a.offset % b
    if isinstance(a, Affine) or isinstance(b, Affine):
        raise Refusal("a remainder of sizes depends on the batch size", REMEDY)
    return a % b


@folds("Mod", inputs=2, fmod="flag")
def _mod(call: Call) -> Array:
    a, b = given(call, 0), given(call, 1)
    check_size(call, np.broadcast_shapes(a.shape, b.shape))
    floats, symbols = "f" in (a.dtype.kind, b.dtype.kind), object in (a.dtype, b.dtype)
    if (floats and not call.get("fmod", 0)) or not (floats or np.all(b != 0)):
        raise Refusal("the remainder of floats needs fmod, that of integers no zero", REMEDY)
    if call.get("fmod", 0):
        if symbols:
            raise Refusal("a remainder of sizes depends on the batch size", REMEDY)
        return np.asarray(np.fmod(a, b))  # with the sign of what is divided
    if not symbols:
        return np.asarray(np.mod(a, b))
    return np.asarray(np.frompyfunc(_remainder, 2, 1)(a.astype(object), b.astype(object)), dtype=object)


@folds("Min", "Max", inputs=MANY)
def _extreme(call: Call) -> Array:
    choose, result = np.minimum if call.operator == "Min" else np.maximum, given(call, 0)
    for position in range(1, len(call.inputs)):
        other = given(call, position)
        check_size(call, np.broadcast_shapes(result.shape, other.shape))
        result = np.asarray(choose(result, other))
    return result


@folds("Clip", inputs=3, min="float", max="float")
def _clip(call: Call) -> Array:
    result = given(call, 0)
    for position, name, choose in ((1, "min", np.maximum), (2, "max", np.minimum)):
        call.only_one(position, name)
        bound = call.constant(position)
        if bound is None and name in call.attributes:
            bound = np.array(call.get(name), dtype=result.dtype)
        if bound is not None:
            if bound.size != 1:
                raise Refusal("a bound of Clip must be one number", REMEDY)
            result = np.asarray(choose(result, bound.reshape(())))
    return result


@folds("MatMul", inputs=2)
def _matmul(call: Call) -> Array:
    a, b = given(call, 0), given(call, 1)
    if object in (a.dtype, b.dtype):
        raise Refusal("the batch size is used as a number", REMEDY)
    front = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    made = (*front, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ()))
    check_size(call, made)
    call.limits.check_work(int(np.prod(made, dtype=object)) * a.shape[-1])
    return np.asarray(np.matmul(a, b))


@folds("CumSum", inputs=2, exclusive="flag", reverse="flag")
def _cumulated(call: Call) -> Array:
    value, axis = given(call, 0), one_integer(call, 1, 0)
    if call.get("reverse", 0):
        value = np.flip(value, axis)
    made = np.cumsum(value, axis=axis, dtype=value.dtype)
    if call.get("exclusive", 0):
        made = made - value
    return np.flip(made, axis) if call.get("reverse", 0) else made


def _log_sum_exp(x: Array, **along: Any) -> Array:
    largest = np.max(x, **along | {"keepdims": True})
    summed = np.log(np.sum(np.exp(x - largest), **along | {"keepdims": True})) + largest
    return np.asarray(summed if along["keepdims"] else np.squeeze(summed, along["axis"]))


_REDUCE: dict[str, Callable[..., Any]] = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceProd": np.prod,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceL1": lambda x, **along: np.sum(np.abs(x), **along),
    "ReduceL2": lambda x, **along: np.sqrt(np.sum(np.square(x), **along)),
    "ReduceSumSquare": lambda x, **along: np.sum(np.square(x), **along),
    "ReduceLogSumExp": _log_sum_exp,
}


@folds(*_REDUCE, inputs=2, axes="ints", keepdims="flag", noop_with_empty_axes="flag")
def _reduce(call: Call) -> Array:
    """Floats in double precision until the result is made."""
    value, axes = given(call, 0), call.integers(1, "axes")
    if not axes and call.get("noop_with_empty_axes", 0) and call.operator in ("ReduceSum", "ReduceProd"):
        return value
    if value.dtype.kind == "b":
        raise Refusal("numbers are reduced, not truth values", REMEDY)
    along = {"axis": tuple(axes or range(value.ndim)), "keepdims": bool(call.get("keepdims", 1))}
    if value.dtype.kind != "f":
        made = np.asarray(_REDUCE[call.operator](value, **along))
        return made if value.dtype == object else made.astype(value.dtype)
    return np.asarray(_REDUCE[call.operator](value.astype(np.float64), **along)).astype(value.dtype)
