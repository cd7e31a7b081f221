"""Functions of one variable, with and without parameters."""

import numpy as np

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space(
    *("Abs", "Cos", "Erf", "Exp", "HardSwish", "Mish", "Neg", "Relu", "Sigmoid", "Sin", "Softplus", "Softsign", "Tanh"),
    *("Asinh", "Atan", "Ceil", "Cosh", "Floor", "IsNaN", "Round", "Sign", "Sinh", "Tan"),
)
def functions(draw: Draw) -> Case:
    return draw.case(draw.one("x", "p", "r"), shape=draw.shape(1, 4))


@space("Log", "Reciprocal", "Sqrt")
def of_positive_numbers(draw: Draw) -> Case:
    return draw.case("p", shape=draw.shape(1, 4))


@space("Acos", "Asin", "Atanh")
def of_numbers_inside_of_one(draw: Draw) -> Case:
    return draw.case("p", shape=draw.shape(1, 4))


@space("Acosh")
def of_numbers_above_one(draw: Draw) -> Case:
    return draw.case("e", shape=draw.shape(1, 4))


@space("IsInf")
def infinities(draw: Draw) -> Case:
    signs = {name: draw.one(0, 1, None) for name in ("detect_positive", "detect_negative")}
    return draw.case(draw.one("x", "p"), shape=draw.shape(1, 4), **signs)


@space("Gelu")
def gelu(draw: Draw) -> Case:
    return draw.case("x", shape=draw.shape(1, 4), approximate=draw.one("none", "tanh", None))


@space("Pow", refused="must be one constant number|adds an axis")
def powers(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    exponent = draw.number(-3, 3)
    like = draw.one((), (1,), (1, 1), (1, 1, 1))
    whole = exponent == int(exponent) and draw.one(True, False)
    kind = draw.one(np.int64, np.int32) if whole and draw.opset >= 12 else np.float32
    base = "x" if exponent == int(exponent) >= 0 else "p"
    return draw.case(base, np.full(like, exponent, kind), shape=shape)


@space("LeakyRelu", "Elu", "Swish", "ThresholdedRelu")
def with_alpha(draw: Draw) -> Case:
    return draw.case("x", shape=draw.shape(1, 4), alpha=draw.maybe(draw.number(-3, 3)))


@space("Celu", refused="must be positive")
def celu(draw: Draw) -> Case:
    return draw.case("x", shape=draw.shape(1, 4), alpha=draw.maybe(draw.number(0.125, 3)))


@space("Selu")
def selu(draw: Draw) -> Case:
    alpha, gamma = draw.maybe(draw.number(0, 3)), draw.maybe(draw.number(0, 3))
    return draw.case("x", shape=draw.shape(1, 4), alpha=alpha, gamma=gamma)


@space("HardSigmoid")
def hard_sigmoid(draw: Draw) -> Case:
    alpha, beta = draw.maybe(draw.number(-2, 2)), draw.maybe(draw.number(-2, 2))
    return draw.case("x", shape=draw.shape(1, 4), alpha=alpha, beta=beta)


@space("Shrink")
def shrink(draw: Draw) -> Case:
    lambd = draw.maybe(draw.number(-1, 2))
    bias = draw.one(lambd, draw.maybe(draw.number(-1, 2)))
    return draw.case("x", shape=draw.shape(1, 4), lambd=lambd, bias=bias)


@space("Clip", accepted="min_ <= max_")
def clip(draw: Draw) -> Case:
    low, high = draw.maybe(draw.number(-2, 1)), draw.maybe(draw.number(-1, 2))
    return draw.case("x", shape=draw.shape(1, 4), min=low, max=high)


@space("PRelu", refused="larger than its input|batch axis of its own")
def prelu(draw: Draw) -> Case:
    shape = draw.shape(1, 3)
    return draw.case("x", draw.floats(*draw.broadcast(shape, grow=False)), shape=shape)
