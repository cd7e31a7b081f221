"""Reductions along the axes of a sample, and the largest of them."""

import numpy as np

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space("ReduceSum", "ReduceMean", tight=1 + 1e-9, refused="all axes")
@space("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", refused="all axes")
def reductions(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    axes = draw.one(draw.axes(shape), draw.axes(shape), draw.axes(shape, 0), None)
    empty = draw.one(0, 1, None)
    return draw.case("x", shape=shape, axes=axes, keepdims=draw.one(0, 1, None), noop_with_empty_axes=empty)


@space("TopK", refused="order is left open")
def largest(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    axis = draw.maybe(draw.axis(shape))
    size = shape[-1 if axis is None else axis - 1 if axis > 0 else axis]
    k = draw.integer(1, size)
    if draw.opset >= 10:
        return draw.case(
            *("x", np.array([k])),
            shape=shape,
            outputs=2,
            axis=axis,
            largest=draw.one(0, 1, None),
            sorted=draw.one(1, None),
        )
    return draw.case("x", shape=shape, outputs=2, axis=axis, k=k)
