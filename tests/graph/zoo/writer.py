"""A file built node by node, with random weights."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALL_IR = {8: 3, 9: 4, 10: 5, 11: 6, 12: 7}  # what onnx wrote at the time; below 4, constants are inputs too


class Writer:
    """Collects nodes; every method returns the name of what it made, so that layers chain."""

    def __init__(self, shape: tuple[int, ...], opset: int, *, batch: int | str = "N", name: str = "input_1") -> None:
        self.opset, self.input = opset, name
        self.shape = [batch, *shape]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(0)

    def op(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """The name of the first output; the others are ``name_1``, ..."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=f"model/{name}", **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"const_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def integers(self, *values: int) -> str:
        return self.constant(list(values), np.int64)

    def weight(self, *shape: int) -> str:
        """Normal, at the scale that keeps activations where they are."""
        fan = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        return self.constant(self.random.normal(size=shape) / np.sqrt(fan))

    def vector(self, size: int, low: float = -0.5, high: float = 0.5) -> str:
        return self.constant(self.random.uniform(low, high, size))

    def conv(self, x: str, c_in: int, c_out: int, kernel: int = 3, **attributes: Any) -> str:
        groups = attributes.get("group", 1)
        return self.op("Conv", x, self.weight(c_out, c_in // groups, kernel, kernel), self.vector(c_out), **attributes)

    def batch_norm(self, x: str, channels: int, **attributes: Any) -> str:
        statistics = [
            self.vector(channels, 0.5, 1.5),
            self.vector(channels),
            self.vector(channels),
            self.vector(channels, 0.5, 2),
        ]
        return self.op("BatchNormalization", x, *statistics, **attributes)

    def dense(self, x: str, n_in: int, n_out: int) -> str:
        """Keras' Dense: MatMul and Add."""
        return self.op("Add", self.op("MatMul", x, self.weight(n_in, n_out)), self.vector(n_out))

    def gemm(self, x: str, n_in: int, n_out: int) -> str:
        return self.op("Gemm", x, self.weight(n_out, n_in), self.vector(n_out), transB=1)

    def file(self, output: str) -> bytes:
        ir = SMALL_IR.get(self.opset, 8)
        inputs = [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, self.shape)]
        if ir < 4:
            types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
            inputs += [helper.make_tensor_value_info(k, types[v.dtype], v.shape) for k, v in self.constants.items()]
        graph = helper.make_graph(
            self.nodes, "model", inputs, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )  # fmt: skip
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir)
        data: bytes = proto.SerializeToString()
        return data
