"""How ONNX operators are evaluated at import, by name; what the evaluations share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from radii.graph.affine import FIXED_SIZES
from radii.graph.call import Call
from radii.graph.errors import Refusal

REMEDY = "Export the model again with constant folding on"
MANY = 2**31  # inputs

Array = np.ndarray[Any, np.dtype[Any]]
Evaluate = Callable[[Call], Array]


@dataclass(frozen=True, slots=True)
class Fold:
    """How one ONNX operator is evaluated at import."""

    most_inputs: int
    attributes: Mapping[str, str]
    evaluate: Evaluate
    of_shapes: bool = False  # whether an input's shape suffices, so that an activation may be one


FOLDS: dict[str, Fold] = {}


def folds(
    *operators: str, inputs: int = 1, of_shapes: bool = False, **attributes: str
) -> Callable[[Evaluate], Evaluate]:
    """Enter a function as the evaluation of ``operators``."""

    def enter(function: Evaluate) -> Evaluate:
        FOLDS.update(dict.fromkeys(operators, Fold(inputs, attributes, function, of_shapes)))
        return function

    return enter


def given(call: Call, position: int) -> Array:
    """A constant that must be there."""
    value = call.constant(position)
    if value is None:
        raise Refusal(f"input {position} is missing", REMEDY)
    return value


def check_size(call: Call, shape: Iterable[int]) -> None:
    """`Refusal` where a result of this shape is too large; before it is made."""
    largest = max((value.size for value in call.inputs if isinstance(value, np.ndarray)), default=0)
    call.limits.check_made(shape, largest)


def sizes(array: Array) -> tuple[int, ...]:
    """A shape given as an array; `Refusal` where it depends on the batch size."""
    if array.dtype.kind not in "iu":
        raise Refusal("a constant's shape depends on the batch size", FIXED_SIZES)
    values = tuple(int(size) for size in array.reshape(-1))
    if any(size < 0 for size in values):
        raise Refusal("a constant's shape has a negative size", REMEDY)
    return values


def integers(call: Call, position: int) -> Array:
    """Indices."""
    value = given(call, position)
    if value.dtype.kind not in "iu":
        raise Refusal("an index depends on the batch size", FIXED_SIZES)
    return value


def one_integer(call: Call, position: int, default: int) -> int:
    """A single number given as an input, which may be left out."""
    if call.input(position) is None:
        return default
    value = integers(call, position)
    if value.size != 1:
        raise Refusal(f"input {position} must be one number", REMEDY)
    return int(value.reshape(()))
