"""The registry: the operators that an ONNX file may name, and those that stand in a graph.

An operator enters it where it is defined.
"""

from collections.abc import Callable
from typing import TypeVar

from radii.graph.operator import Operator

OPERATORS: dict[str, type[Operator]] = {}  # by the name in ONNX
NODES: dict[str, type[Operator]] = {}  # by the name of the class, which is that in the canonical form

Class = TypeVar("Class", bound=type[Operator])


MANY = 2**31


def onnx_operator(*, inputs: int = 1, **attributes: str) -> Callable[[Class], Class]:
    """Enter a class under its own name, which is its name in ONNX.

    ``inputs`` is the most inputs it takes; ``attributes`` are those it knows, each with its kind (see `Call`).
    """

    def enter(cls: Class) -> Class:
        cls.attributes, cls.most_inputs = attributes, inputs
        OPERATORS[cls.__name__] = cls
        return graph_operator(cls) if cls.is_node else cls

    return enter


def graph_operator(cls: Class) -> Class:
    """Enter a class that other operators are read as."""
    NODES[cls.__name__] = cls
    return cls
