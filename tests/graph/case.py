"""A row of the case table: one node, and the file around it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.graph.build import model, node

RNG = np.random.default_rng(20)
IMAGE = (4, 9, 8)
VECTOR = (6,)
HELPERS = {
    "r": node("Relu", ["x"], "r"),
    "m": node("GlobalAveragePool", ["x"], "m"),
    "p": node("Sigmoid", ["x"], "p"),
    "e": node("Exp", ["r"], "e"),
    "t": node("Less", ["x", "r"], "t"),
    "u": node("Less", ["p", "x"], "u"),
}
NEEDED = {"e": "r", "t": "r", "u": "p"}
TRUTH = (  # operators that make booleans
    *("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"),
)


@dataclass(frozen=True)
class Case:
    """One node on ``x`` (batch, *shape).

    Inputs: "x", "r" (relu of x), "m" (spatial mean of x), "p" (sigmoid of x), "e" (exp of r), "t" (whether x < 0),
    "u" (whether x > p), or constants.
    """

    operator: str
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ("x",)
    shape: tuple[int, ...] = IMAGE
    opset: int = 18
    outputs: int = 1
    output: int = 0  # the one that is used

    def data(self) -> bytes:
        """The file: helpers before the node, a Flatten behind it."""
        names, constants = [], {}
        for i, value in enumerate(self.inputs):
            if isinstance(value, str):
                names.append(value)
            else:
                names.append(f"c{i}")
                constants[f"c{i}"] = np.asarray(value)
        nodes = [HELPERS[name] for name in self.helpers()]
        made = [f"unused{i}" for i in range(self.outputs)]
        made[self.output] = "z"
        nodes.append(helper.make_node(self.operator, names, made, **self.attributes))
        if self.operator in TRUTH or (self.operator == "Cast" and self.attributes["to"] == TensorProto.BOOL):
            nodes.append(node("Cast", ["z"], "number", to=TensorProto.FLOAT))
        nodes.append(node("Flatten", [nodes[-1].output[0] if len(nodes[-1].output) == 1 else "z"], "y", axis=1))
        return model(nodes, self.shape, constants, opset=self.opset)

    def helpers(self) -> list[str]:
        """The values made before the node, whose position in the file is their number."""
        used = {value for value in self.inputs if isinstance(value, str)}
        used |= {NEEDED[name] for name in used if name in NEEDED}
        return [name for name in HELPERS if name in used]

    def __str__(self) -> str:
        given = "-".join(f"{name}={value}" for name, value in self.attributes.items())
        return f"{self.operator}-{self.opset}-{given}-{len(self.inputs)}"


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)
