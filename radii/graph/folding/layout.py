"""Constants and lists of sizes rearranged: shapes, axes, parts, copies."""

import numpy as np

from radii.graph.affine import FIXED_SIZES
from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import MANY, REMEDY, Array, check_size, folds, given, one_integer, sizes
from radii.graph.lengths import split_lengths


@folds("Identity")
def _identity(call: Call) -> Array:
    return given(call, 0)


@folds("Reshape", inputs=2, allowzero="flag")
def _reshape(call: Call) -> Array:
    value, target = given(call, 0), given(call, 1)
    if target.dtype.kind not in "iu":
        raise Refusal("a constant's shape depends on the batch size", FIXED_SIZES)
    shape = [int(size) for size in target.reshape(-1)]
    if not call.get("allowzero", 0):
        shape = [value.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    if any(size < -1 for size in shape):
        raise Refusal("a size is negative", REMEDY)
    return value.reshape(shape)


@folds("Flatten", axis="int")
def _flatten(call: Call) -> Array:
    value = given(call, 0)
    axis = call.get("axis", 1)
    if not -value.ndim <= axis <= value.ndim:
        raise Refusal("an axis is out of range", REMEDY)
    rows = int(np.prod(value.shape[:axis], dtype=np.int64))
    return value.reshape(rows, -1) if value.size else value.reshape(rows, 0)


@folds("Transpose", perm="ints")
def _transpose(call: Call) -> Array:
    return np.transpose(given(call, 0), call.get("perm"))


@folds("Squeeze", inputs=2, axes="ints")
def _squeeze(call: Call) -> Array:
    return np.squeeze(given(call, 0), call.integers(1, "axes"))


@folds("Unsqueeze", inputs=2, axes="ints")
def _unsqueeze(call: Call) -> Array:
    axes = call.integers(1, "axes")
    if axes is None:
        raise Refusal("its axes are missing", REMEDY)
    return np.expand_dims(given(call, 0), axes)


@folds("Expand", inputs=2)
def _expand(call: Call) -> Array:
    value, target = given(call, 0), sizes(given(call, 1))
    shape = np.broadcast_shapes(value.shape, target)
    check_size(call, shape)
    return np.broadcast_to(value, shape).copy()


@folds("Tile", inputs=2)
def _tile(call: Call) -> Array:
    value, repeats = given(call, 0), sizes(given(call, 1))
    check_size(call, [a * b for a, b in zip(value.shape, repeats, strict=True)])
    return np.tile(value, repeats)


@folds("Concat", inputs=MANY, axis="int")
def _concat(call: Call) -> Array:
    values = [given(call, position) for position in range(len(call.inputs))]
    check_size(call, [sum(value.size for value in values)])
    return np.concatenate(values, axis=call.get("axis", 0))


@folds("Slice", inputs=5, starts="ints", ends="ints", axes="ints", steps="ints")
def _slice(call: Call) -> Array:
    value = given(call, 0)
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


@folds("Split", inputs=2, axis="int", split="ints", num_outputs="int")
def _split(call: Call) -> Array:
    value, axis = given(call, 0), call.get("axis", 0)
    lengths = split_lengths(call, value.shape[axis])
    return np.split(value, np.cumsum(lengths)[:-1], axis=axis)[call.output]


@folds("Where", inputs=3)
def _where(call: Call) -> Array:
    condition, yes, no = (given(call, position) for position in range(3))
    check_size(call, np.broadcast_shapes(condition.shape, yes.shape, no.shape))
    return np.where(condition.astype(bool), yes, no)


@folds("Trilu", inputs=2, upper="flag")
def _trilu(call: Call) -> Array:
    value, k = given(call, 0), one_integer(call, 1, 0)
    return np.triu(value, k) if call.get("upper", 1) else np.tril(value, k)
