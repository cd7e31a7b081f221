"""Small models and data that are refused, and their neighbours that are not."""

import io
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.graph.build import model, node

WEIGHT = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
FLAT = {"shape": [6], "range": [0.0, 1.0], "mean": 0, "std": 1}
RGB = {"shape": [3, 8, 8], "range": [0.0, 1.0], "mean": 0, "std": 1}
SMOOTHING = {"kind": "smoothing", "sigma": 0.25, "n": 200}


def dense(**options: Any) -> bytes:
    """Three logits of six numbers."""
    return model([node("MatMul", ["x", "w"])], (6,), {"w": WEIGHT}, **options)


def npz(**arrays: Any) -> bytes:
    """A file as numpy.savez writes it."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def inputs(count: int = 4) -> np.ndarray:
    """Inputs of ``dense``."""
    return np.random.default_rng(1).uniform(size=(count, 6)).astype(np.float32)


def two_outputs() -> bytes:
    """Logits, and a value beside them."""
    proto = onnx.ModelProto.FromString(model([node("MatMul", ["x", "w"], "logits")], (6,), {"w": WEIGHT}))
    proto.graph.output[0].name = "logits"
    proto.graph.node.append(node("ReduceSum", ["x"], "value"))
    proto.graph.output.append(helper.make_tensor_value_info("value", TensorProto.FLOAT, None))
    return proto.SerializeToString()


def weights_elsewhere() -> tuple[bytes, bytes]:
    """``dense`` with its weights in a file ``m.data``: both."""
    proto = onnx.ModelProto.FromString(dense())
    tensor = proto.graph.initializer[0]
    raw = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="m.data")
    return proto.SerializeToString(), raw
