"""Where constants come from: shapes, literals, ranges, casts."""

import numpy as np

from radii.graph.affine import BATCH, FIXED_SIZES
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import REMEDY, Array, check_size, folds, given, sizes

# TensorProto.DataType; float16 is rounded to, and held in float32
_TYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    11: np.float64,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
}
FLOAT16 = 10


@folds("Shape", of_shapes=True, start="int", end="int")
def _shape(call: Call) -> Array:
    value = call.input(0)
    if isinstance(value, Activation):
        full = np.empty(value.rank, dtype=object)
        full[:] = value.shape if value.batch_in_shape else [BATCH, *value.shape]
    else:
        full = np.array(given(call, 0).shape, dtype=np.int64)
    return np.asarray(full[call.get("start", 0) : call.get("end")])


@folds("Size", of_shapes=True)
def _size(call: Call) -> Array:
    value = call.input(0)
    if not isinstance(value, Activation):
        return np.array(given(call, 0).size)
    total = np.empty((), dtype=object)
    total[()] = (1 if value.batch_in_shape else BATCH) * int(np.prod(value.shape, dtype=object))
    return total


@folds(
    "Constant",
    inputs=0,
    value="tensor",
    value_float="float",
    value_floats="floats",
    value_int="int",
    value_ints="ints",
)
def _constant(call: Call) -> Array:
    if len(call.attributes) != 1:
        raise Refusal("a Constant must have exactly one value", REMEDY)
    ((name, value),) = call.attributes.items()
    return np.asarray(value) if name == "value" else np.array(value, dtype=np.float32 if "float" in name else np.int64)


@folds("ConstantOfShape", value="tensor")
def _constant_of_shape(call: Call) -> Array:
    shape = sizes(given(call, 0))
    check_size(call, shape)
    value = call.get("value", np.zeros(1, dtype=np.float32))
    if value.size != 1:
        raise Refusal("the value of ConstantOfShape must be one number", REMEDY)
    return np.full(shape, value.reshape(()))


@folds("EyeLike", dtype="int", k="int")
def _eye_like(call: Call) -> Array:
    value = given(call, 0)
    dtype = _TYPES.get(call.get("dtype", -1)) if "dtype" in call.attributes else value.dtype
    if value.ndim != 2 or dtype is None:
        raise Refusal("it must make a matrix of a supported type", "Export the model in float32")
    rows, columns = value.shape
    return np.eye(rows, columns, k=call.get("k", 0), dtype=dtype)


@folds("Range", inputs=3)
def _range(call: Call) -> Array:
    start, limit, delta = (given(call, position) for position in range(3))
    if any(bound.size != 1 or bound.dtype.kind not in "iuf" for bound in (start, limit, delta)):
        raise Refusal("the bounds of Range must be plain numbers", FIXED_SIZES)
    first, last, step = (bound.reshape(()).item() for bound in (start, limit, delta))
    if step == 0 or not all(np.isfinite([first, last, step])):
        raise Refusal("the bounds of Range must be finite and its step not 0", REMEDY)
    length = max(0, int(np.ceil((last - first) / step)))
    check_size(call, (length,))
    return np.asarray(first + step * np.arange(length), dtype=start.dtype)


@folds("Cast", to="int", saturate="flag")
def _cast(call: Call) -> Array:
    return _as_type(given(call, 0), call.get("to", 0))


@folds("CastLike", inputs=2, saturate="flag")
def _cast_like(call: Call) -> Array:
    wanted = given(call, 1).dtype
    return _as_type(given(call, 0), 7 if wanted.kind == "O" else _number(wanted))


def _number(dtype: np.dtype[np.generic]) -> int:
    return next((number for number, known in _TYPES.items() if np.dtype(known) == dtype), 0)


def _as_type(value: Array, to: int) -> Array:
    if to == FLOAT16 and value.dtype.kind in "fiub":
        return value.astype(np.float16).astype(np.float32)
    if to not in _TYPES:
        raise Refusal("a constant is cast to a type that is not supported", "Export the model in float32")
    dtype = np.dtype(_TYPES[to])
    if value.dtype == object:
        if dtype.kind != "i" or dtype.itemsize < 4:
            raise Refusal("the batch size is used as a number", FIXED_SIZES)
        return value
    if value.dtype.kind == "f" and dtype.kind in "iu":
        # ONNX does not say what becomes of those that do not fit. torch and onnxruntime make them the least integer on
        # common processors, and exporters count on no more than that a Where leaves them out.
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        fits = (value > least - 1) & (value < most + 1)
        return np.where(fits, np.where(fits, value, 0).astype(dtype), np.iinfo(dtype).min)
    return value.astype(dtype)
