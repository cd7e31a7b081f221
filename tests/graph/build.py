"""Small ONNX files made by hand, and what onnxruntime (all optimisation off) says of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: dict[str, np.ndarray] | None = None,
    *,
    output: str = "y",
    opset: int = 18,
    batch: int | str = BATCH,
) -> bytes:
    """A file with the float32 input ``x`` of (batch, *shape), the given nodes and constants, and one output."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=4 if opset < 10 else 8)
    return proto.SerializeToString()


def typed(data: bytes, element: int) -> bytes:
    """The file with inputs and outputs of another element type (TensorProto's)."""
    proto = onnx.ModelProto.FromString(data)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = element
    return proto.SerializeToString()


def node(operator: str, inputs: Sequence[str], output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, list(inputs), [output], **attributes)


def reference(data: bytes, x: np.ndarray) -> np.ndarray:
    """onnxruntime's answer, nothing fused."""
    session = _session(data)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def onnxruntime_on_rows(data: bytes, x: np.ndarray, output: str | None = None) -> np.ndarray:
    """Its answers (rows, -1) to one input at a time, of the file's type, without a batch axis if the file has none."""
    session = _session(data)
    (source,) = session.get_inputs()
    rows = x.astype(TYPES[source.type])
    rows = rows if len(source.shape) == x.ndim - 1 else rows[:, None]
    outputs = [output or session.get_outputs()[0].name]
    return np.stack([session.run(outputs, {source.name: row})[0].reshape(-1) for row in rows])


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def relative_gap(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, against the largest value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
