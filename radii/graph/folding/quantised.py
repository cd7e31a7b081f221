"""Integers that stand for floats, ``(x - zero_point) * scale``, as files of quantised weights have them."""

from typing import Any

import numpy as np

from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.folding.registry import Array, folds, given

TYPES: dict[int, type[np.integer[Any]]] = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}
FLOATS = (0, 1, 10, 16)  # the output's type: that of the scale, FLOAT, FLOAT16, BFLOAT16, all of them held as float32


@folds("QuantizeLinear", inputs=3, axis="int", block_size="int", output_dtype="int", saturate="flag", precision="int")
def _quantised(call: Call) -> Array:
    x, scale, zero = given(call, 0), given(call, 1), call.constant(2)
    wanted = TYPES.get(call.get("output_dtype", 0), np.uint8 if zero is None else zero.dtype.type)
    hold(x.dtype == scale.dtype == np.float32 and bool((scale > 0).all()), "it does not make steps of float32 numbers")
    hold(call.get("output_dtype", 0) in (0, *TYPES) and call.get("precision", 0) in (0, 1), "its steps are of no type")
    hold(zero is None or (zero.dtype, zero.size) == (wanted, scale.size), "its zero point does not fit")
    hold(bool(np.isfinite(x).all()), "it quantises what is no number")
    limits = np.iinfo(wanted)
    steps = np.rint(x / _spread(call, x, scale))
    if zero is not None:
        steps += _spread(call, x, zero)
    return np.clip(steps, limits.min, limits.max).astype(wanted)


@folds("DequantizeLinear", inputs=3, axis="int", block_size="int", output_dtype="int")
def _dequantised(call: Call) -> Array:
    x, scale, zero = given(call, 0), given(call, 1), call.constant(2)
    fits = x.dtype.kind in "iu" and x.dtype.itemsize <= 4 and scale.dtype == np.float32
    hold(fits and call.get("output_dtype", 0) in FLOATS, "it does not make floats of integers of 32 bits or fewer")
    hold(zero is None or (zero.dtype, zero.size) == (x.dtype, scale.size), "its zero point does not fit")
    scale = _spread(call, x, scale)
    whole = x.astype(np.int32)
    if zero is not None and x.dtype == np.int32:
        hold(not zero.any(), "integers of 32 bits have a zero point, which onnxruntime does not take")
    elif zero is not None:
        whole -= _spread(call, x, zero).astype(np.int32)
    made: Array = whole.astype(np.float32)
    made *= scale
    return made


def _spread(call: Call, x: Array, values: Array) -> Array:
    """One for all of ``x``, one for each entry of an axis, or one for each block along it, to be broadcast with it."""
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    if values.size == 1 and values.ndim <= 1:
        return values.reshape(())
    if not -x.ndim <= axis < x.ndim:
        raise Refusal(f"it has no axis {axis}", "Export the model again")
    axis, size = axis % x.ndim, x.shape[axis]
    if block == 0:
        hold(values.shape == (size,), f"there is not one scale for each entry of axis {axis}")
        return values.reshape(size, *[1] * (x.ndim - axis - 1))
    blocks = (*x.shape[:axis], -(-size // block), *x.shape[axis + 1 :])
    hold(block > 0 and values.shape == blocks, f"there is not one scale for each {block} entries of axis {axis}")
    return np.asarray(np.take(values, np.arange(size) // block, axis=axis))
