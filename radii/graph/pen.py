"""The pen with which operators write themselves as nodes of ONNX. onnx is imported when it is called."""

from collections.abc import Iterable
from typing import Any

import numpy as np


class Unwritable(ValueError):
    """Names the operator that does not know how to write itself, or says why the file can't be."""


class Pen:
    """Nodes and constants written so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        """The name of a constant with these entries."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def given(self, *arrays: np.ndarray | None) -> list[str]:
        """The names of those of these that are there."""
        return [self.constant(array) for array in arrays if array is not None]

    def node(self, operator: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        """Write one node; its output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output
