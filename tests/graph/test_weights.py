"""Weights of other types, and beside the file."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import read_onnx, to_module
from tests.graph.build import model, node, reference, relative_gap, typed
from tests.graph.refused import GEMM, WEIGHT, reasons


def external(name: str = "f.onnx.data", offset: str | None = "64", length: str | None = "72") -> bytes:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return proto.SerializeToString()


def test_weights_beside_the_file() -> None:
    content = b"\0" * 64 + WEIGHT.tobytes()
    inside = read_onnx(model([GEMM], (6,), {"w": WEIGHT}))
    assert read_onnx(external(), external_data={"f.onnx.data": content}).digest == inside.digest
    assert read_onnx(external(length=None), external_data={"f.onnx.data": content}).digest == inside.digest
    missing = reasons(external())
    assert "'f.onnx.data', which is not here" in missing
    assert "external_data=False" in missing
    assert '"external_data": {"f.onnx.data": "upl_..."}' in missing  # as it is said over HTTP
    for options in ({"offset": "65"}, {"length": "71"}, {"length": "73"}, {"offset": str(2**63)}):
        assert "outside the file" in reasons(external(**options), external_data={"f.onnx.data": content})
    for offset in ("-8", "1e1", "", "²"):
        assert "as a number" in reasons(external(offset=offset), external_data={"f.onnx.data": content})


def test_a_constant_node_may_lie_elsewhere_too() -> None:
    value = numpy_helper.from_array(WEIGHT)
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="big.bin")
    data = model([node("Constant", [], "w", value=value), GEMM], (6,))
    assert "weights lie in the file 'big.bin', which is not here (tensors: 1)" in reasons(data)
    assert read_onnx(data, external_data={"big.bin": WEIGHT.tobytes()}).num_classes == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "f.onnx.data\0", "./f.onnx.data"])
def test_a_name_that_does_not_match_is_only_a_name(name: str) -> None:
    assert "is not here" in reasons(external(name), external_data={"f.onnx.data": b"\0" * 200})


def test_other_weights_than_float32() -> None:
    """Two-byte weights are widened exactly, doubles are kept; integers of a quantised model are refused."""
    half = model([GEMM], (6,), {"w": WEIGHT.astype(np.float16)})
    (read,) = read_onnx(typed(half, TensorProto.FLOAT16)).nodes
    assert np.array_equal(read.operator.arrays()["weight"], WEIGHT.astype(np.float16).astype(np.float64).T)
    widened = [node("Cast", ["w"], "v", to=TensorProto.FLOAT), node("Gemm", ["x", "v"])]
    proto = onnx.ModelProto.FromString(model(widened, (6,), {"w": WEIGHT}))
    for raw in (True, False):
        bits = WEIGHT.view(np.uint32) >> 16
        tensor = onnx.TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[6, 3])
        if raw:
            tensor.raw_data = bits.astype("<u2").tobytes()
        else:
            tensor.int32_data.extend(bits.reshape(-1).tolist())
        proto.graph.initializer[0].CopyFrom(tensor)
        (read,) = read_onnx(proto.SerializeToString()).nodes
        assert np.array_equal(read.operator.arrays()["weight"], (bits << 16).view(np.float32).T)
    double = model([GEMM], (6,), {"w": WEIGHT.astype(np.float64)})
    (read,) = read_onnx(typed(double, TensorProto.DOUBLE)).nodes
    assert read.operator.arrays()["weight"].dtype == np.float64
    quantised = node("ConvInteger", ["x", "w"])
    assert "quantised" in reasons(model([quantised], (6,), {"w": WEIGHT.astype(np.int8)}))


def test_a_float16_model_runs_in_float32() -> None:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT.astype(np.float16)}))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    data = proto.SerializeToString()
    x = np.random.default_rng(4).normal(size=(3, 6)).astype(np.float16)
    found = to_module(read_onnx(data))(torch.from_numpy(x.astype(np.float32))).numpy()
    assert relative_gap(found, reference(data, x).astype(np.float32)) < 2e-3  # the rounding of float16, at most


def test_sparse_and_segmented_weights() -> None:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    proto.graph.initializer[0].segment.begin = 0
    assert "segments" in reasons(proto.SerializeToString())
    del proto.graph.initializer[0]
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [6, 3]))
    assert "'w'" in reasons(proto.SerializeToString())
