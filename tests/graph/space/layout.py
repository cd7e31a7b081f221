"""What moves entries, renames axes, picks, repeats or joins."""

from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space("Identity", tight=1.0)
def identity(draw: Draw) -> Case:
    return draw.case("x", shape=draw.shape(1, 4))


@space("Dropout", tight=1.0, accepted="Type Error|must be a scalar|ratio must be in the range")  # of no effect
def dropout(draw: Draw) -> Case:
    ratio, training = draw.maybe(draw.one(0.0, 0.3)), draw.one(None, False)
    return draw.case("x", shape=draw.shape(1, 4), ratio=ratio, training_mode=training, seed=draw.one(None, 3))


@space("Cast", refused="rounds")
def cast(draw: Draw) -> Case:
    to = draw.one(TensorProto.FLOAT, TensorProto.BOOL)
    return draw.case("x", shape=draw.shape(1, 4), to=to, saturate=draw.one(None, 1))


@space("Reshape", tight=1.0, refused="batch|free size")
def reshape(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    rest = list(draw.draw(st.permutations(shape)))
    at = draw.integer(0, len(rest))
    rest = draw.one(rest, [*rest[:at], prod(rest[at:])], [*rest[:at], 1, *rest[at:]], [prod(rest)])
    head = draw.one(0, -1, 0, -1, 0, 2)  # 2: the batch of the test, no batch in general
    if head == 0 and draw.one(True, False):
        rest[draw.integer(0, len(rest) - 1)] = -1
    rest = [0 if i < len(shape) and size == shape[i] and draw.one(True, False) else size for i, size in enumerate(rest)]
    allowzero = draw.one(None, 0) if 0 in (head, *rest) else draw.one(None, 0, 1)
    return draw.case("x", np.array([head, *rest]), shape=shape, allowzero=allowzero)


@space("Flatten", tight=1.0, refused="batch", accepted="Invalid value.* for attribute 'axis'")  # negative before 11
def flatten(draw: Draw) -> Case:
    shape = draw.shape(1, 4, 3)
    rank = len(shape) + 1
    return draw.case("x", shape=shape, axis=draw.one(None, 1, 1 - rank, draw.integer(-rank, rank)))


@space("Squeeze", tight=1.0, refused="batch")
def squeeze(draw: Draw) -> Case:
    shape = list(draw.shape(1, 3, 3))
    shape.insert(draw.integer(0, len(shape)), 1)
    ones = [i + 1 for i, size in enumerate(shape) if size == 1]
    axes = draw.draw(st.lists(st.sampled_from(ones), min_size=1, unique=True))
    axes = [axis - draw.one(0, len(shape) + 1) for axis in axes]
    return draw.case("x", shape=shape, axes=draw.one(axes, axes, axes, axes, None))


@space("Unsqueeze", tight=1.0)
def unsqueeze(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    rank = len(shape) + 1 + (count := draw.integer(1, 2))
    axes = draw.draw(st.lists(st.integers(1, rank - 1), min_size=count, max_size=count, unique=True))
    return draw.case("x", shape=shape, axes=[axis - draw.one(0, rank) for axis in axes])


@space("Transpose", tight=1.0, refused="batch")
def transpose(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    perm = [0, *draw.draw(st.permutations(range(1, len(shape) + 1)))]
    return draw.case("x", shape=shape, perm=draw.one(perm, perm, perm, perm, None))


@space("Expand", tight=1 + 1e-9)
def expand(draw: Draw) -> Case:
    shape = draw.shape(1, 4, 3)
    return draw.case("x", np.array(draw.broadcast(shape), np.int64), shape=shape)


@space("Tile", tight=1 + 1e-9)
def tile(draw: Draw) -> Case:
    shape = draw.shape(1, 3, 3)
    return draw.case("x", np.array([1, *draw.integers(len(shape), 1, 3)]), shape=shape)


@space("Gather", tight=1 + 1e-9, refused="batch")
def gather(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    axis = draw.axis(shape)
    size = shape[axis - 1 if axis > 0 else axis]
    like = draw.one((), (1,), (3,), (2, 2))
    indices = np.array(draw.integers(prod(like), -size, size - 1), draw.one(np.int64, np.int32)).reshape(like)
    return draw.case("x", indices, shape=shape, axis=axis)


@space("Slice", tight=1.0, refused="batch|picks samples|empty")
def slices(draw: Draw) -> Case:
    shape = draw.shape(1, 3, 5)
    axes = draw.axes(shape)
    count = len(axes)
    starts, ends = (
        [draw.one(value, value, value, huge) for value, huge in zip(draw.integers(count, -7, 7), far, strict=True)]
        for far in ([-(2**40)] * count, draw.draw(st.permutations([2**31 - 1, 2**63 - 1, -(2**62)]))[:count])
    )
    steps = [step or 1 for step in draw.integers(count, -3, 3)]
    values: dict[str, Any] = {"axes": axes}
    if draw.integer(0, 4) == 0:  # all the leading axes, the batch too
        count += 1
        starts, ends, steps = [0, *starts], [draw.one(2**31 - 1, 2**63 - 1), *ends], [1, *steps]
        values = {"axes": None}
    values |= {"starts": starts, "ends": ends, "steps": steps}
    if draw.opset < 10:
        values |= {"ends": [min(end, 2**31 - 1) for end in ends], "steps": None}
    elif set(steps) == {1}:
        values["steps"] = draw.maybe(steps)
    return draw.case("x", shape=shape, **values)


@space("Split", tight=1.0, refused="Give the lengths")
def split(draw: Draw) -> Case:
    lengths = draw.integers(draw.integer(1, 4), 1, 3)
    shape = list(draw.shape(1, 3, 3))
    axis = draw.axis(shape)
    shape[axis - 1 if axis > 0 else axis] = sum(lengths)
    form = draw.one("lengths", "count", "equal")
    count = len(lengths) if form == "count" else None
    return draw.case(
        "x",
        shape=shape,
        outputs=len(lengths),
        output=draw.integer(0, len(lengths) - 1),
        axis=axis,
        split=lengths if form == "lengths" else None,
        num_outputs=count,
    )


@space("Pad", tight=1.5, refused="pad|everything off")
def pad(draw: Draw) -> Case:
    shape = draw.shape(1, 3, 4)
    mode = draw.one(*("constant", "constant", "reflect", "edge"), *(("wrap",) if draw.opset >= 19 else ()), None)
    axes = draw.axes(shape) if draw.opset >= 18 and draw.one(True, False) else None
    count = len(shape) if axes is None else len(axes)
    least = draw.one(0, 0, -1)
    low, high = draw.integers(count, least, 3), draw.integers(count, least, 3)
    pads = [*low, *high] if axes else [0, *low, 0, *high]
    return draw.case("x", shape=shape, mode=mode, pads=pads, value=draw.one(None, 0.5, -2.0), axes=axes)


# a constant has batch 1: the file is for one sample, and onnxruntime refuses two
@space("Concat", tight=1.0, refused="axes of an activation|batch", accepted="Axis 0 has mismatched dimensions")
def concat(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    axis = draw.axis(shape)
    like = list(shape)
    like[axis - 1 if axis > 0 else axis] = draw.integer(1, 3)
    choices = ("r", "p", "x", draw.floats(1, *like))
    return draw.case("x", *(draw.one(*choices) for _ in range(draw.integer(0, 3))), shape=shape, axis=axis)
