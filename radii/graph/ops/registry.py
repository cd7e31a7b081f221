"""The registry: ONNX operator name to class. An operator enters it where it is defined."""

from collections.abc import Callable
from typing import TypeVar

from radii.graph.ir import Operator

OPERATORS: dict[str, type[Operator]] = {}

Class = TypeVar("Class", bound=type[Operator])


def onnx_operator(**attributes: str) -> Callable[[Class], Class]:
    """Enter a class under its own name, which is its name in ONNX, with the attributes it knows (see `Call`)."""

    def enter(cls: Class) -> Class:
        cls.attributes = attributes
        OPERATORS[cls.__name__] = cls
        return cls

    return enter
