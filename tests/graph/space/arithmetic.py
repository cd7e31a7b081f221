"""Arithmetic, comparisons and choices, with ONNX's broadcasting: activations, constants, both."""

from hypothesis import strategies as st

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


@space("Add", "Sub", "Mul", tight=1 + 1e-9)
def binary(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    return draw.case(*draw.operands(shape, 2), shape=shape)


@space("Div", tight=1 + 1e-9)
def division(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    divisor = draw.one("p", draw.positive(*draw.broadcast(shape)), -draw.positive(*draw.broadcast(shape)))
    dividend = draw.one("x", "r", draw.floats(*draw.broadcast(shape))) if isinstance(divisor, str) else "x"
    return draw.case(dividend, divisor, shape=shape)


@space("Sum", "Max", "Min")
def many(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    return draw.case(*draw.operands(shape, draw.integer(1, 4)), shape=shape)


@space("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", accepted="Type 'tensor.float.'")
def comparisons(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    return draw.case(*draw.operands(shape, 2), shape=shape)


@space("And", "Or", "Xor")
def connectives(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    other = draw.one("t", "u", draw.floats(*draw.broadcast(shape)) > 0)
    return draw.case(*draw.draw(st.permutations(["u", other])), shape=shape)


@space("Not")
def negation(draw: Draw) -> Case:
    return draw.case("t", shape=draw.shape(1, 4))


@space("Where")
def choice(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    condition = draw.one("t", draw.floats(*draw.broadcast(shape)) > 0)
    yes, no = draw.operands(shape, 2)
    return draw.case(condition, yes, no, shape=shape)
