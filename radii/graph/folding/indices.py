"""What finds and follows indices, on constants alone."""

from typing import Any

import numpy as np

from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.folding.registry import REMEDY, Array, check_size, folds, given, integers, one_integer


def _inside(indices: Array, size: int) -> Array:
    """Indices counted from the front; `Refusal` for one outside of an axis."""
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise Refusal(f"an index is outside an axis of size {size}", REMEDY)
    return np.where(indices < 0, indices + size, indices)


@folds("Gather", inputs=2, axis="int")
def _gather(call: Call) -> Array:
    value, indices, axis = given(call, 0), integers(call, 1), call.get("axis", 0)
    check_size(call, (indices.size, value.size // max(1, value.shape[axis])))
    return np.take(value, indices, axis=axis)


@folds("GatherElements", inputs=2, axis="int")
def _gather_elements(call: Call) -> Array:
    value, indices, axis = given(call, 0), integers(call, 1), call.get("axis", 0)
    return np.asarray(value[_along(value, indices, axis)])


def _along(value: Array, indices: Array, axis: int) -> tuple[Array, ...]:
    """The place of each index: its own, but that it stands for the position on one axis."""
    if indices.ndim != value.ndim or any(
        have > size
        for i, (have, size) in enumerate(zip(indices.shape, value.shape, strict=True))
        if i != axis % value.ndim
    ):
        raise Refusal("the indices have not the axes of what they are taken of", REMEDY)
    place: list[Array] = list(np.indices(indices.shape, sparse=True))
    place[axis] = _inside(indices, value.shape[axis])
    return tuple(place)


def _places(value: Array, indices: Array, leading: int = 0) -> tuple[Array, ...]:
    """The places that rows of ``indices`` name, behind ``leading`` axes that both count in step."""
    named = indices.shape[-1]
    if leading + named > value.ndim or indices.shape[:leading] != value.shape[:leading] or leading >= indices.ndim:
        raise Refusal("the indices have not the axes of what they are taken of", REMEDY)
    rows = indices.shape[:-1]
    front = [axis.reshape(axis.shape + (1,) * (len(rows) - leading)) for axis in np.indices(rows[:leading])]
    return (*front, *(_inside(indices[..., i], value.shape[leading + i]) for i in range(named)))


@folds("GatherND", inputs=2, batch_dims="int")
def _gather_nd(call: Call) -> Array:
    value, indices, leading = given(call, 0), integers(call, 1), call.get("batch_dims", 0)
    check_size(call, (*indices.shape[:-1], *value.shape[leading + indices.shape[-1] :]))
    return np.asarray(value[_places(value, indices, leading)])


_COMBINE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _scattered(call: Call, value: Array, place: tuple[Array, ...], updates: Array) -> Array:
    made, reduction = value.copy(), call.get("reduction", "none")
    if updates.dtype != value.dtype or (reduction != "none" and reduction not in _COMBINE):
        raise Refusal("the updates are of another type, or its reduction is unknown", REMEDY)
    if updates.shape != made[place].shape:
        raise Refusal("there is not one update for each index", REMEDY)
    if reduction == "none":
        made[place] = updates
    else:
        _COMBINE[reduction].at(made, place, updates)
    return made


@folds("ScatterND", inputs=3, reduction="string")
def _scatter_nd(call: Call) -> Array:
    value, indices, updates = given(call, 0), integers(call, 1), given(call, 2)
    check_size(call, (*indices.shape[:-1], *value.shape[indices.shape[-1] :]))
    return _scattered(call, value, _places(value, indices), updates)


@folds("ScatterElements", "Scatter", inputs=3, axis="int", reduction="string")
def _scatter_elements(call: Call) -> Array:
    value, indices, updates = given(call, 0), integers(call, 1), given(call, 2)
    return _scattered(call, value, _along(value, indices, call.get("axis", 0)), updates)


@folds("OneHot", inputs=3, axis="int")
def _one_hot(call: Call) -> Array:
    indices, depth, values = integers(call, 0), one_integer(call, 1, 0), given(call, 2)
    if values.shape != (2,) or depth < 1:
        raise Refusal("OneHot needs a depth of one or more, and two values", REMEDY)
    check_size(call, (indices.size, depth))
    # counted from the end where negative; what lies outside is nowhere
    index: Array = np.where(indices < 0, indices + depth, indices)
    hot = np.moveaxis(index[..., None] == np.arange(depth), -1, call.get("axis", -1))
    return np.asarray(np.where(hot, values[1], values[0]))


@folds("NonZero")
def _non_zero(call: Call) -> Array:
    value = given(call, 0)
    if value.ndim == 0 or value.dtype == object:
        raise Refusal("it is taken of a single number, or of sizes", REMEDY)
    check_size(call, (value.size, value.ndim))
    return np.stack(np.nonzero(value)).astype(np.int64)


@folds("ArgMax", "ArgMin", axis="int", keepdims="flag", select_last_index="flag")
def _arg_extreme(call: Call) -> Array:
    value, axis, find = given(call, 0), call.get("axis", 0), np.argmax if call.operator == "ArgMax" else np.argmin
    if value.dtype == object:
        raise Refusal("it is taken of sizes", REMEDY)
    last = call.get("select_last_index", 0)
    found = np.asarray(find(np.flip(value, axis) if last else value, axis=axis), dtype=np.int64)
    found = value.shape[axis] - 1 - found if last else found
    return np.expand_dims(found, axis % value.ndim) if call.get("keepdims", 1) else found


@folds("TopK", inputs=2, axis="int", largest="flag", sorted="flag", k="int")
def _top(call: Call) -> Array:
    value, axis = given(call, 0), call.get("axis", -1)
    count = one_integer(call, 1, call.get("k", 0))
    if value.dtype == object or not 0 < count <= value.shape[axis]:
        raise Refusal(f"it takes {count} of an axis of size {value.shape[axis]}", REMEDY)
    if call.get("largest", 1):  # descending, of equal ones the first first
        order = value.shape[axis] - 1 - np.flip(np.argsort(np.flip(value, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(value, axis=axis, kind="stable")
    order = np.take(order, np.arange(count), axis=axis)
    return np.asarray(order if call.output else np.take_along_axis(value, order, axis=axis))
