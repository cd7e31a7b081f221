"""The registry: ONNX operator name to class. An operator enters it where it is defined."""

from collections.abc import Callable
from typing import TypeVar

from radii.graph.ir import Operator

OPERATORS: dict[str, type[Operator]] = {}

Class = TypeVar("Class", bound=type[Operator])


MANY = 2**31


def onnx_operator(*, inputs: int = 1, **attributes: str) -> Callable[[Class], Class]:
    """Enter a class under its own name, which is its name in ONNX.

    ``inputs`` is the most inputs it takes; ``attributes`` are those it knows, each with its kind (see `Call`).
    """

    def enter(cls: Class) -> Class:
        cls.attributes, cls.most_inputs = attributes, inputs
        OPERATORS[cls.__name__] = cls
        return cls

    return enter
