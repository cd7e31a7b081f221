"""Nodes whose value is known at import: constants, and shape arithmetic with the batch size left open.

Everything here is numpy on small or already admitted arrays; whatever could grow asks the limits first.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from radii.graph.affine import BATCH, FIXED_SIZES, Affine, settle
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal
from radii.graph.lengths import split_lengths

REMEDY = "Export the model again with constant folding on"
MANY = 2**31  # inputs
SYMBOLIC_ELEMENTS = 4096  # a list of sizes is short; an array of Python objects need not be long

Array = np.ndarray[Any, np.dtype[Any]]
Evaluate = Callable[[Call], Array]


@dataclass(frozen=True, slots=True)
class Fold:
    """How one ONNX operator is evaluated at import."""

    most_inputs: int
    attributes: Mapping[str, str]
    evaluate: Evaluate


FOLDS: dict[str, Fold] = {}


def fold(call: Call) -> Array:
    """The value of a node, all of whose inputs are known (or whose inputs' shapes suffice)."""
    with np.errstate(all="ignore"):  # what is not finite is refused where it is used
        result = np.asarray(FOLDS[call.operator].evaluate(call))
    if result.dtype == object and result.size > SYMBOLIC_ELEMENTS:
        raise Refusal(
            "too many sizes that depend on the batch size",
            FIXED_SIZES,
        )
    result = settle(result)
    result.flags.writeable = False
    return result


def _register(
    operator: str, most_inputs: int = 1, **attributes: str
) -> Callable[[Callable[[Call], Array]], Callable[[Call], Array]]:
    def decorate(function: Callable[[Call], Array]) -> Callable[[Call], Array]:
        FOLDS[operator] = Fold(most_inputs, attributes, function)
        return function

    return decorate


def _check_size(call: Call, shape: Iterable[int]) -> None:
    given = max((value.size for value in call.inputs if isinstance(value, np.ndarray)), default=0)
    call.limits.check_made(shape, given)


def _given(call: Call, position: int) -> Array:
    value = call.constant(position)
    if value is None:
        raise Refusal(f"input {position} is missing", REMEDY)
    return value


def _sizes(array: Array) -> tuple[int, ...]:
    if array.dtype.kind not in "iu":
        raise Refusal(
            "a constant's shape depends on the batch size",
            FIXED_SIZES,
        )
    sizes = tuple(int(size) for size in array.reshape(-1))
    if any(size < 0 for size in sizes):
        raise Refusal("a constant's shape has a negative size", REMEDY)
    return sizes


# Where values come from


@_register("Shape", start="int", end="int")
def _shape(call: Call) -> Array:
    value = call.input(0)
    if isinstance(value, Activation):
        full = np.empty(value.rank, dtype=object)
        full[:] = value.shape if value.whole else [BATCH, *value.shape]
    else:
        full = np.array(_given(call, 0).shape, dtype=np.int64)
    return np.asarray(full[call.get("start", 0) : call.get("end")])


@_register("Size")
def _size(call: Call) -> Array:
    value = call.input(0)
    if not isinstance(value, Activation):
        return np.array(_given(call, 0).size)
    total = np.empty((), dtype=object)
    total[()] = (1 if value.whole else BATCH) * int(np.prod(value.shape, dtype=object))
    return total


@_register(
    "Constant", 0, value="tensor", value_float="float", value_floats="floats", value_int="int", value_ints="ints"
)
def _constant(call: Call) -> Array:
    if len(call.attributes) != 1:
        raise Refusal("a Constant must have exactly one value", REMEDY)
    ((name, value),) = call.attributes.items()
    return np.asarray(value) if name == "value" else np.array(value, dtype=np.float32 if "float" in name else np.int64)


@_register("ConstantOfShape", value="tensor")
def _constant_of_shape(call: Call) -> Array:
    shape = _sizes(_given(call, 0))
    _check_size(call, shape)
    value = call.get("value", np.zeros(1, dtype=np.float32))
    if value.size != 1:
        raise Refusal("the value of ConstantOfShape must be one number", REMEDY)
    return np.full(shape, value.reshape(()))


@_register("Range", 3)
def _range(call: Call) -> Array:
    start, limit, delta = (_given(call, position) for position in range(3))
    if any(bound.size != 1 or bound.dtype.kind not in "iuf" for bound in (start, limit, delta)):
        raise Refusal(
            "the bounds of Range must be plain numbers",
            FIXED_SIZES,
        )
    first, last, step = (bound.reshape(()).item() for bound in (start, limit, delta))
    if step == 0 or not all(np.isfinite([first, last, step])):
        raise Refusal("the bounds of Range must be finite and its step not 0", REMEDY)
    length = max(0, int(np.ceil((last - first) / step)))
    _check_size(call, (length,))
    return np.asarray(first + step * np.arange(length), dtype=start.dtype)


_CASTS = {1: np.float32, 11: np.float64, 6: np.int32, 7: np.int64, 9: np.bool_}  # TensorProto.DataType


@_register("Cast", to="int", saturate="int")
def _cast(call: Call) -> Array:
    value, to = _given(call, 0), _CASTS.get(call.get("to", 0))
    if call.get("to") == 10 and value.dtype.kind in "fiub":  # TensorProto.FLOAT16: rounded to it, and held in float32
        return value.astype(np.float16).astype(np.float32)
    if to is None:
        raise Refusal("a constant is cast to a type that is not supported", "Export the model in float32")
    if value.dtype == object:
        if to not in (np.int32, np.int64):
            raise Refusal(
                "the batch size is used as a number",
                FIXED_SIZES,
            )
        return value
    if value.dtype.kind == "f" and to in (np.int32, np.int64) and not np.all(np.abs(value) < 2**31):
        raise Refusal("a number too large for an integer is cast to one", REMEDY)
    return value.astype(to)


# Layout


@_register("Identity")
def _identity(call: Call) -> Array:
    return _given(call, 0)


@_register("Reshape", 2, allowzero="int")
def _reshape(call: Call) -> Array:
    value, target = _given(call, 0), _given(call, 1)
    if target.dtype.kind not in "iu":
        raise Refusal(
            "a constant's shape depends on the batch size",
            FIXED_SIZES,
        )
    shape = [int(size) for size in target.reshape(-1)]
    if not call.get("allowzero", 0):
        shape = [value.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    if any(size < -1 for size in shape):
        raise Refusal("a size is negative", REMEDY)
    return value.reshape(shape)


@_register("Flatten", axis="int")
def _flatten(call: Call) -> Array:
    value = _given(call, 0)
    axis = call.get("axis", 1)
    if not -value.ndim <= axis <= value.ndim:
        raise Refusal("an axis is out of range", REMEDY)
    rows = int(np.prod(value.shape[:axis], dtype=np.int64))
    return value.reshape(rows, -1) if value.size else value.reshape(rows, 0)


@_register("Transpose", perm="ints")
def _transpose(call: Call) -> Array:
    return np.transpose(_given(call, 0), call.get("perm"))


@_register("Squeeze", 2, axes="ints")
def _squeeze(call: Call) -> Array:
    return np.squeeze(_given(call, 0), call.integers(1, "axes"))


@_register("Unsqueeze", 2, axes="ints")
def _unsqueeze(call: Call) -> Array:
    return np.expand_dims(_given(call, 0), call.integers(1, "axes") or ())


@_register("Expand", 2)
def _expand(call: Call) -> Array:
    value, target = _given(call, 0), _sizes(_given(call, 1))
    shape = np.broadcast_shapes(value.shape, target)
    _check_size(call, shape)
    return np.broadcast_to(value, shape).copy()


@_register("Tile", 2)
def _tile(call: Call) -> Array:
    value, repeats = _given(call, 0), _sizes(_given(call, 1))
    _check_size(call, [a * b for a, b in zip(value.shape, repeats, strict=True)])
    return np.tile(value, repeats)


@_register("Concat", MANY, axis="int")
def _concat(call: Call) -> Array:
    values = [_given(call, position) for position in range(len(call.inputs))]
    _check_size(call, [sum(value.size for value in values)])
    return np.concatenate(values, axis=call.get("axis", 0))


@_register("Gather", 2, axis="int")
def _gather(call: Call) -> Array:
    value, indices, axis = _given(call, 0), _given(call, 1), call.get("axis", 0)
    if indices.dtype.kind not in "iu":
        raise Refusal("an index depends on the batch size", FIXED_SIZES)
    _check_size(call, (indices.size, value.size // max(1, value.shape[axis])))
    return np.take(value, indices, axis=axis)


@_register("Slice", 5, starts="ints", ends="ints", axes="ints", steps="ints")
def _slice(call: Call) -> Array:
    value = _given(call, 0)
    starts, ends = call.integers(1, "starts") or (), call.integers(2, "ends") or ()
    axes = call.integers(3, "axes") or tuple(range(len(starts)))
    steps = call.integers(4, "steps") or (1,) * len(starts)
    index = [slice(None)] * value.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(*_bounds(start, end, step, value.shape[axis]))
    return np.asarray(value[tuple(index)])


def _bounds(start: int, end: int, step: int, size: int) -> tuple[int, int | None, int]:
    first, last, step = slice(start, end, step).indices(size)
    return first, None if last < 0 else last, step


@_register("Split", 2, axis="int", split="ints", num_outputs="int")
def _split(call: Call) -> Array:
    value, axis = _given(call, 0), call.get("axis", 0)
    lengths = split_lengths(call, value.shape[axis])
    return np.split(value, np.cumsum(lengths)[:-1], axis=axis)[call.output]


@_register("Where", 3)
def _where(call: Call) -> Array:
    condition, yes, no = (_given(call, position) for position in range(3))
    _check_size(call, np.broadcast_shapes(condition.shape, yes.shape, no.shape))
    return np.where(condition.astype(bool), yes, no)


# Arithmetic


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.divide(a, b, dtype=a.dtype)
    if a.dtype == object or b.dtype == object:
        return np.floor_divide(a, b)
    if not np.all(b):
        raise Refusal("an integer is divided by zero", REMEDY)
    return np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)  # ONNX truncates toward zero


def _power(a: Array, b: Array) -> Array:
    return np.power(a, b.astype(a.dtype)) if a.dtype.kind == "f" else np.power(a, b)


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": _power,
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
}
_UNARY: dict[str, Callable[[Array], Array]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Not": np.logical_not,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Exp": np.exp,
    "Log": np.log,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Sin": np.sin,
    "Cos": np.cos,
}
_BOOLEAN = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not"}


def _binary(call: Call) -> Array:
    a, b = _given(call, 0), _given(call, 1)
    _check_size(call, np.broadcast_shapes(a.shape, b.shape))
    result = np.asarray(_BINARY[call.operator](a, b))
    return result.astype(bool) if call.operator in _BOOLEAN else result


def _unary(call: Call) -> Array:
    result = np.asarray(_UNARY[call.operator](_given(call, 0)))
    return result.astype(bool) if call.operator in _BOOLEAN else result


for _name in _BINARY:
    FOLDS[_name] = Fold(2, {}, _binary)
for _name in _UNARY:
    FOLDS[_name] = Fold(1, {}, _unary)


def _remainder(a: Any, b: Any) -> Any:
    if isinstance(a, Affine) and not isinstance(b, Affine) and b and a.slope % b == 0:
        return a.offset % b
    if isinstance(a, Affine) or isinstance(b, Affine):
        raise Refusal("a remainder of sizes depends on the batch size", REMEDY)
    return a % b


@_register("Mod", 2, fmod="int")
def _mod(call: Call) -> Array:
    a, b = _given(call, 0), _given(call, 1)
    if call.get("fmod", 0) or "f" in (a.dtype.kind, b.dtype.kind) or not np.all(b != 0):
        raise Refusal("only remainders of integers are supported, not by zero", REMEDY)
    _check_size(call, np.broadcast_shapes(a.shape, b.shape))
    return np.asarray(np.frompyfunc(_remainder, 2, 1)(a.astype(object), b.astype(object)), dtype=object)


def _reduce(call: Call) -> Array:
    """As standardised weights have it: statistics of a constant, in double precision until they are made."""
    value, axes = _given(call, 0), call.integers(1, "axes")
    if value.dtype.kind != "f" or not axes or len(axes) > 8:
        raise Refusal("only floats are reduced, along axes that are named", REMEDY)
    wide = value.astype(np.float64)
    squares = np.square(wide) if call.operator == "ReduceL2" else wide
    reduce = np.mean if call.operator == "ReduceMean" else np.sum
    result = reduce(squares, axis=tuple(axes), keepdims=bool(call.get("keepdims", 1)))
    return np.asarray(np.sqrt(result) if call.operator == "ReduceL2" else result).astype(value.dtype)


for _name in ("ReduceMean", "ReduceSum", "ReduceL2"):
    FOLDS[_name] = Fold(2, {"axes": "ints", "keepdims": "int", "noop_with_empty_axes": "int"}, _reduce)


@_register("Min", MANY)
def _min(call: Call) -> Array:
    return _extreme(call, np.minimum)


@_register("Max", MANY)
def _max(call: Call) -> Array:
    return _extreme(call, np.maximum)


def _extreme(call: Call, choose: Callable[[Array, Array], Array]) -> Array:
    result = _given(call, 0)
    for position in range(1, len(call.inputs)):
        other = _given(call, position)
        _check_size(call, np.broadcast_shapes(result.shape, other.shape))
        result = np.asarray(choose(result, other))
    return result


@_register("ReduceProd", 2, axes="ints", keepdims="int", noop_with_empty_axes="int")
def _reduce_prod(call: Call) -> Array:
    value, axes = _given(call, 0), call.integers(1, "axes")
    if not axes and call.get("noop_with_empty_axes", 0):
        return value
    return np.asarray(np.prod(value, axis=axes or None, keepdims=bool(call.get("keepdims", 1)), dtype=value.dtype))
