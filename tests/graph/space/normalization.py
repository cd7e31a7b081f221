"""Normalisation by running statistics, by a sample's own, and softmax."""

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space("BatchNormalization", tight=1 + 1e-9)
def batch_norm(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    gamma, beta, mean = (draw.floats(shape[0]) for _ in range(3))
    epsilon, momentum = draw.one(None, 1e-3, 0.5), draw.one(None, 0.9)
    variance = draw.positive(shape[0])
    mode = draw.one(None, 0)
    return draw.case(
        *("x", gamma, beta, mean, variance), shape=shape, epsilon=epsilon, momentum=momentum, training_mode=mode
    )


@space("LayerNormalization")
def layer_norm(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    axis = draw.one(None, draw.axis(shape))
    inner = shape[-1 if axis is None else axis - 1 if axis > 0 else axis :]
    constants = draw.one([draw.floats(*inner)], [draw.floats(*inner), draw.floats(*inner)])
    epsilon = draw.one(None, 1e-3, 0.5)
    return draw.case("x", *constants, shape=shape, axis=axis, epsilon=epsilon, stash_type=draw.one(None, 1))


@space("RMSNormalization")
def rms_norm(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    axis = draw.one(None, draw.axis(shape))
    inner = shape[-1 if axis is None else axis - 1 if axis > 0 else axis :]
    return draw.case("x", draw.floats(*inner), shape=shape, axis=axis, epsilon=draw.one(None, 1e-3, 0.5))


@space("InstanceNormalization")
def instance_norm(draw: Draw) -> Case:
    shape = (draw.integer(1, 3), *(size + 1 for size in draw.shape(1, 3, 3)))  # of a single entry only rounding is left
    constants = (draw.floats(shape[0]), draw.floats(shape[0]))
    return draw.case("x", *constants, shape=shape, epsilon=draw.one(None, 1e-3, 0.5))


@space("GroupNormalization")
def group_norm(draw: Draw) -> Case:
    groups, each = draw.integers(2, 1, 3)
    entries = groups if draw.opset < 21 else groups * each
    constants = (draw.floats(entries), draw.floats(entries))
    shape = (groups * each, *(size + 1 for size in draw.shape(1, 2, 3)))
    return draw.case("x", *constants, shape=shape, num_groups=groups, epsilon=draw.one(None, 1e-3, 0.5))


@space("LRN", refused="size must be odd", accepted="NumDimensions.. == 4|alpha_ > 0|beta_ > 0")
def local_response(draw: Draw) -> Case:
    alpha, beta, bias = draw.one(None, 0.9, 2.0), draw.one(None, 0.5, 1.5), draw.one(None, 0.5, 2.0)
    shape = draw.image(draw.integer(1, 5), draw.integer(1, 2), 3)
    return draw.case("x", shape=shape, size=draw.one(1, 3, 5), alpha=alpha, beta=beta, bias=bias)


@space("Softmax", "LogSoftmax")
def softmax(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    return draw.case("x", shape=shape, axis=draw.maybe(draw.axis(shape)))
