"""One table: for every operator, files that must be read exactly and files that must be refused."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.graph.build import model, node

RNG = np.random.default_rng(20)
IMAGE = (4, 9, 8)
VECTOR = (6,)
HELPERS = {"r": node("Relu", ["x"], "r"), "m": node("GlobalAveragePool", ["x"], "m")}


@dataclass(frozen=True)
class Case:
    """One node on ``x`` (batch, *shape). Inputs: "x", "r" (relu of x), "m" (spatial mean of x), or constants."""

    operator: str
    attributes: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Any, ...] = ("x",)
    shape: tuple[int, ...] = IMAGE
    opset: int = 18

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
        nodes += [node(self.operator, names, "z", **self.attributes), node("Flatten", ["z"], "y", axis=1)]
        return model(nodes, self.shape, constants, opset=self.opset)

    def helpers(self) -> list[str]:
        """The values made before the node, whose position in the file is their number."""
        return [name for name in HELPERS if any(isinstance(value, str) and value == name for value in self.inputs)]

    def __str__(self) -> str:
        given = "-".join(f"{name}={value}" for name, value in self.attributes.items())
        return f"{self.operator}-{self.opset}-{given}-{len(self.inputs)}"


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def number(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def _norm(channels: int, **attributes: Any) -> tuple[Any, ...]:
    return ("x", floats(channels), floats(channels), floats(channels), np.abs(floats(channels)) + 0.1)


KERNEL = floats(5, 4, 3, 3)
SIMPLE = ["Relu", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Sigmoid", "HardSwish", "Mish", "Erf", "Exp"]

GOOD: list[Case] = [
    *(Case(name) for name in SIMPLE),
    Case("Identity"),
    Case("Dropout"),
    Case("Sqrt", inputs=("r",)),
    Case("Pow", inputs=("x", number(2.0))),
    Case("Pow", inputs=("x", number(1.0))),
    Case("LeakyRelu"),
    Case("LeakyRelu", {"alpha": -1.5}),
    Case("Elu"),
    Case("Elu", {"alpha": 2.5}),
    Case("Selu"),
    Case("Celu", {"alpha": 0.5}),
    Case("HardSigmoid"),
    Case("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}),
    Case("Gelu", opset=20),
    Case("Gelu", {"approximate": "tanh"}, opset=20),
    Case("Clip", {"min": -0.5, "max": 0.7}, opset=8),
    Case("Clip", inputs=("x", number(-0.5), number(0.7))),
    Case("Clip", inputs=("x", "", number(0.7))),
    Case("Clip"),
    Case("PRelu", inputs=("x", floats(4, 1, 1))),
    Case("PRelu", inputs=("x", floats(1))),
    Case("Dropout", {"ratio": 0.3}, opset=8),
    Case("Dropout", inputs=("x", number(0.3), np.array(False))),
    Case("Cast", {"to": 1}),
    # arithmetic
    Case("Add", inputs=("x", "r")),
    Case("Add", inputs=("x", "m")),
    Case("Add", inputs=("x", "x")),
    Case("Add", inputs=(floats(1, 4, 1, 1), "x")),
    Case("Add", inputs=("x", floats(9, 8))),
    Case("Add", inputs=("x", floats(3, 5)), shape=(1, 5)),
    Case("Sub", inputs=("x", "r")),
    Case("Sub", inputs=("m", "r")),
    Case("Sub", inputs=(number(1.0), "x")),
    Case("Mul", inputs=("x", "r")),
    Case("Mul", inputs=("x", floats(4, 1, 1))),
    Case("Mul", inputs=(floats(3, 5), "x"), shape=(1, 5)),
    Case("Div", inputs=("x", np.abs(floats(4, 1, 1)) + 0.1)),
    Case("Div", inputs=("x", np.abs(floats(3, 5)) + 0.1), shape=(1, 5)),
    Case("Div", inputs=(number(1.0), "x")),
    Case("Sum", inputs=("x", "r", "m")),
    Case("Sum", inputs=("x",)),
    Case("Sum", inputs=("x", floats(4, 1, 1), "r", number(2.0))),
    # linear
    Case("Gemm", inputs=("x", floats(6, 3), floats(3)), shape=VECTOR),
    Case("Gemm", {"transB": 1, "alpha": 0.5, "beta": 2.0}, ("x", floats(3, 6), floats(1, 3)), VECTOR),
    Case("Gemm", {"transB": 1}, ("x", floats(3, 6)), VECTOR, opset=11),
    Case("Gemm", inputs=("x", floats(6, 3), floats(1)), shape=VECTOR, opset=8),
    Case("MatMul", inputs=("x", floats(6, 3)), shape=VECTOR),
    Case("MatMul", inputs=("x", floats(1, 6, 3)), shape=(5, 6)),
    Case("MatMul", inputs=(floats(3, 5), "x"), shape=(5, 6)),
    Case("MatMul", inputs=("x", "r"), shape=(5, 5)),
    # convolution
    Case("Conv", inputs=("x", KERNEL, floats(5))),
    Case("Conv", {"pads": [1, 1, 1, 1], "strides": [2, 2], "kernel_shape": [3, 3]}, ("x", KERNEL)),
    Case("Conv", {"pads": [0, 2, 1, 1], "strides": [1, 2], "dilations": [2, 1]}, ("x", KERNEL)),
    Case("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, ("x", floats(5, 4, 3, 2))),
    Case("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, ("x", floats(5, 4, 3, 2))),
    Case("Conv", {"auto_pad": "VALID"}, ("x", KERNEL)),
    Case("Conv", {"group": 2, "pads": [1, 1, 1, 1]}, ("x", floats(6, 2, 3, 3))),
    Case("Conv", {"group": 4}, ("x", floats(4, 1, 2, 2)), opset=8),
    Case("Conv", {"strides": [2], "pads": [3, 1]}, ("x", floats(3, 4, 5)), (4, 11)),
    Case("Conv", {"pads": [1, 0, 1, 1, 0, 1]}, ("x", floats(3, 2, 3, 2, 2)), (2, 4, 3, 4)),
    # pooling
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", {"kernel_shape": [3, 3]}, opset=8),
    Case("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}),
    Case("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    Case("MaxPool", {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [0, 2, 1, 1]}),
    Case("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("MaxPool", {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, opset=10),
    Case("MaxPool", {"kernel_shape": [3], "strides": [2]}, shape=(2, 9)),
    Case("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1], "strides": [2, 1]}, opset=8),
    Case("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}, opset=19),
    Case(
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
        opset=19,
    ),
    Case("AveragePool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, shape=(2, 9)),
    Case("AveragePool", {"kernel_shape": [2, 2, 2]}, shape=(2, 4, 3, 4)),
    Case("GlobalAveragePool"),
    Case("ReduceMean", {"axes": [2, 3]}, opset=13),
    Case("ReduceMean", {"axes": [-1], "keepdims": 0}, opset=8),
    Case("ReduceMean", {"keepdims": 0}, ("x", ints(1, -1))),
    # normalisation
    Case("BatchNormalization", inputs=_norm(4)),
    Case("BatchNormalization", {"epsilon": 0.1}, _norm(4), opset=9),
    Case("BatchNormalization", inputs=_norm(6), shape=VECTOR),
    Case("LayerNormalization", {"epsilon": 0.1}, ("x", floats(8), floats(8))),
    Case("LayerNormalization", {"axis": 1}, ("x", floats(9, 8)), (9, 8)),
    Case("Softmax"),
    Case("Softmax", {"axis": 1}),
    Case("Softmax", opset=11),
    Case("Softmax", {"axis": 2}, opset=8),
    # layout
    Case("Reshape", inputs=("x", ints(0, -1))),
    Case("Reshape", inputs=("x", ints(-1, 8, 36))),
    Case("Reshape", inputs=("x", ints(0, 0, 72)), opset=8),
    Case("Flatten"),
    Case("Flatten", {"axis": -3}, opset=11),
    Case("Flatten", {"axis": 2}, shape=(1, 5)),
    Case("Squeeze", {"axes": [1]}, shape=(1, 5), opset=11),
    Case("Squeeze", inputs=("x", ints(-1)), shape=(5, 1)),
    Case("Unsqueeze", {"axes": [1, 4]}, shape=(5, 3), opset=11),
    Case("Unsqueeze", inputs=("x", ints(-1)), shape=(5,)),
    Case("Transpose", {"perm": [0, 2, 3, 1]}),
    # selection
    Case("Gather", {"axis": 1}, ("x", ints(0, 2, 2, -1))),
    Case("Gather", {"axis": 2}, ("x", np.array(3))),
    Case("Gather", {"axis": -1}, ("x", np.array([[0, 1], [1, 1]])), opset=8),
    Case("Slice", {"starts": [1, -3], "ends": [4, 2**31 - 1], "axes": [1, 3]}, opset=8),
    Case("Slice", inputs=("x", ints(8, 0), ints(-20, 2**63 - 1), ints(2, 3), ints(-2, 3))),
    Case("Slice", inputs=("x", ints(0, 1), ints(2**63 - 1, 3))),
    Case("Pad", {"pads": [0, 0, 1, 2, 0, 1, 0, -1], "value": 1.5}, opset=8),
    Case("Pad", {"mode": "reflect"}, ("x", ints(0, 0, 3, 2, 0, 0, 1, 0))),
    Case("Pad", {"mode": "edge"}, ("x", ints(0, 0, 3, 2, 0, 1, 1, 0)), opset=11),
    Case("Pad", {"mode": "wrap"}, ("x", ints(2, 1), "", ints(-1)), opset=19),
    Case("Pad", inputs=("x", ints(0, 0, 1, 1, 0, 0, 2, 0), number(-2.0)), opset=13),
    Case("Concat", {"axis": 1}, ("x", "r", "x")),
    Case("Concat", {"axis": -1}, ("x", "r"), opset=8),
]

BAD: list[Case] = [
    Case("Celu", {"alpha": -1.0}),
    Case("Gelu", {"approximate": "cubic"}, opset=20),
    Case("Clip", inputs=("x", number(np.nan), number(1.0))),
    Case("Clip", inputs=("x", floats(2), number(1.0))),
    Case("Clip", {"max": 1.0}, ("x", "", number(0.5))),
    Case("PRelu", inputs=("x", "r")),
    Case("Pow", inputs=("x", floats(4, 1, 1))),
    Case("Dropout", inputs=("x", number(0.3), np.array(True))),
    Case("Cast", {"to": 7}),
    Case("Cast", {"to": 10}),
    Case("LeakyRelu", {"alpha": float("nan")}),
    Case("Elu", {"alpha": float("inf")}),
    Case("Add", inputs=("x", floats(3, 4, 9, 8))),
    Case("Add", inputs=("x", floats(2, 3, 4, 9, 8))),
    Case("Add", inputs=("x", floats(3, 1))),
    Case("Add", inputs=("x",)),
    Case("Mul", inputs=("x", np.full((4, 1, 1), np.inf, np.float32))),
    Case("Mul", inputs=("x", ints(2))),
    Case("Div", inputs=("x", np.zeros(1, np.float32))),
    Case("Sum", inputs=("x", "", "r")),
    Case("Gemm", {"transA": 1}, ("x", floats(6, 3)), VECTOR),
    Case("Gemm", inputs=("x", floats(5, 3)), shape=VECTOR),
    Case("Gemm", inputs=("x", floats(6, 3), floats(2, 3)), shape=VECTOR),
    Case("Gemm", inputs=("x", np.full((6, 3), np.nan, np.float32)), shape=VECTOR),
    Case("MatMul", inputs=("x", floats(5, 6, 3)), shape=(5, 6)),
    Case("MatMul", inputs=("x", floats(6)), shape=VECTOR),
    Case("Conv", {"strides": [0, 1]}, ("x", KERNEL)),
    Case("Conv", {"strides": [1]}, ("x", KERNEL)),
    Case("Conv", {"dilations": [-1, 1]}, ("x", KERNEL)),
    Case("Conv", {"dilations": [100, 1]}, ("x", KERNEL)),
    Case("Conv", {"pads": [-1, 0, 0, 0]}, ("x", KERNEL)),
    Case("Conv", {"pads": [1, 1]}, ("x", KERNEL)),
    Case("Conv", {"pads": [2**62] * 4}, ("x", KERNEL)),
    Case("Conv", {"pads": [2**20] * 4}, ("x", KERNEL)),
    Case("Conv", {"group": 3}, ("x", KERNEL)),
    Case("Conv", {"group": 0}, ("x", KERNEL)),
    Case("Conv", {"kernel_shape": [5, 5]}, ("x", KERNEL)),
    Case("Conv", {"auto_pad": "MAYBE"}, ("x", KERNEL)),
    Case("Conv", {"auto_pad": "VALID", "pads": [1] * 4}, ("x", KERNEL)),
    Case("Conv", inputs=("x", floats(5, 4, 3))),
    Case("Conv", inputs=("x", floats(5, 4, 3, 3), floats(4))),
    Case("Conv", inputs=("x", "r")),
    Case("MaxPool", {"strides": [2, 2]}),
    Case("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}),
    Case("MaxPool", {"kernel_shape": [20, 2]}),
    Case("MaxPool", {"kernel_shape": [2, 2], "ceil_mode": 2}),
    Case("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, opset=19),
    Case("AveragePool", {"kernel_shape": [2]}),
    Case("AveragePool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}),
    Case("GlobalAveragePool", shape=VECTOR),
    Case("ReduceMean", {"axes": [0]}, opset=13),
    Case("ReduceMean", {"axes": [7]}, opset=13),
    Case("ReduceMean", {"axes": [1, 1]}, opset=13),
    Case("ReduceMean"),
    Case("BatchNormalization", {"training_mode": 1}, _norm(4)),
    Case("BatchNormalization", {"spatial": 0}, _norm(4), opset=8),
    Case("BatchNormalization", {"epsilon": -2.0}, _norm(4)),
    Case("BatchNormalization", inputs=_norm(3)),
    Case("LayerNormalization", {"axis": 0}, ("x", floats(4, 9, 8))),
    Case("LayerNormalization", {"epsilon": -1.0}, ("x", floats(8))),
    Case("LayerNormalization", {"stash_type": 10}, ("x", floats(8))),
    Case("LayerNormalization", inputs=("x", floats(7))),
    Case("Softmax", {"axis": 0}),
    Case("Softmax", {"axis": 4}),
    Case("Squeeze", {"axes": [1]}, ("x", ints(1)), (1, 5)),
    Case("Reshape", inputs=("x", ints(-1))),
    Case("Reshape", inputs=("x", ints(1, -1))),
    Case("Reshape", inputs=("x", ints(-1, -1))),
    Case("Reshape", inputs=("x", ints(0, -5))),
    Case("Reshape", inputs=("x", ints(0, 7, -1))),
    Case("Reshape", inputs=("x", ints(-1, 8))),
    Case("Reshape", {"allowzero": 1}, ("x", ints(0, -1))),
    Case("Reshape", inputs=("x", "x")),
    Case("Flatten", {"axis": 0}),
    Case("Flatten", {"axis": 2}),
    Case("Flatten", {"axis": 9}),
    Case("Squeeze", {"axes": [0]}, shape=(1, 5), opset=11),
    Case("Squeeze", {"axes": [2]}, shape=(1, 5), opset=11),
    Case("Squeeze", shape=(1, 5)),
    Case("Unsqueeze", {"axes": [0]}, shape=(5,), opset=11),
    Case("Transpose"),
    Case("Transpose", {"perm": [1, 0, 2, 3]}),
    Case("Transpose", {"perm": [0, 1, 1, 3]}),
    Case("Gather", inputs=("x", ints(0))),
    Case("Gather", {"axis": 1}, ("x", ints(4))),
    Case("Gather", {"axis": 1}, ("x", "r")),
    Case("Slice", inputs=("x", ints(0), ints(1), ints(0))),
    Case("Slice", inputs=("x", ints(1), ints(1), ints(1))),
    Case("Slice", inputs=("x", ints(0), ints(1), ints(1), ints(0))),
    Case("Slice", inputs=("x", ints(0), ints(1), ints(7))),
    Case("Slice", inputs=("x", ints(0, 0), ints(1), ints(1))),
    Case("Pad", inputs=("x", ints(1, 0, 0, 0, 0, 0, 0, 0))),
    Case("Pad", inputs=("x", ints(0, 0, 0, 0))),
    Case("Pad", inputs=("x", ints(0, 0, 2**40, 0, 0, 0, 2**40, 0))),
    Case("Pad", inputs=("x", ints(0, 0, 1, 0, 0, 0, 0, 0), number(np.inf))),
    Case("Pad", {"mode": "reflect"}, ("x", ints(0, 0, 9, 0, 0, 0, 0, 0))),
    Case("Pad", {"mode": "edge"}, ("x", ints(0, 0, -1, 0, 0, 0, 0, 0))),
    Case("Pad", {"mode": "mirror"}, ("x", ints(0, 0, 1, 0, 0, 0, 0, 0))),
    Case("Concat", {"axis": 0}, ("x", "r")),
    Case("Concat", {"axis": 1}, ("x", floats(1, 4, 9, 8))),
    Case("Concat", {"axis": 2}, ("x", "m")),
]
