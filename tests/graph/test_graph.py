"""The graph itself: folding, recognised activations, immutability, digest, normalisation, methods, module."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from radii.graph import (
    check_batch_independence,
    normalized,
    operators,
    read_onnx,
    rules,
    to_module,
    undecorated,
)
from radii.graph.ops.linear import Gemm
from tests.graph.build import model, node, typed
from tests.graph.export import export
from tests.graph.networks import trained

RNG = np.random.default_rng(9)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def lenet() -> bytes:
    return export(trained("lenet"), (1, 28, 28), dynamo=False, opset=17, dynamic=True)


def test_names_are_data() -> None:
    """Whatever things are called, the graph is the same; labels keep the names for people."""
    data = lenet()
    proto = onnx.ModelProto.FromString(data)
    names: dict[str, str] = {}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"import os; {len(names)} '\"\n{{}}") if name else name

    for value in (*proto.graph.initializer, *proto.graph.input, *proto.graph.output, *proto.graph.node):
        value.name = renamed(value.name)
    for entry in proto.graph.node:
        entry.input[:] = [renamed(name) for name in entry.input]
        entry.output[:] = [renamed(name) for name in entry.output]
    first, second = read_onnx(data), read_onnx(proto.SerializeToString())
    assert first.digest == second.digest
    assert all(name.isdigit() for name in second.shapes)
    assert "import os" in second.nodes[0].label
    x = torch.randn(2, 1, 28, 28)
    assert torch.equal(to_module(first)(x), to_module(second)(x))


def test_digest_tells_functions_apart() -> None:
    weight = floats(6, 3)
    digests = {
        read_onnx(data).digest
        for data in (
            model([node("Gemm", ["x", "w"])], (6,), {"w": weight}),
            model([node("Gemm", ["x", "w"])], (6,), {"w": weight * np.float32(1.0000001)}),
            typed(model([node("Gemm", ["x", "w"])], (6,), {"w": weight.astype(np.float64)}), TensorProto.DOUBLE),
            model([node("Gemm", ["x", "w"], alpha=2.0)], (6,), {"w": weight}),
            model([node("MatMul", ["x", "w"])], (6,), {"w": weight}),
            model([node("Gemm", ["x", "w"], "g"), node("LeakyRelu", ["g"])], (6,), {"w": weight}),
            model([node("Gemm", ["x", "w"], "g"), node("LeakyRelu", ["g"], alpha=0.2)], (6,), {"w": weight}),
            model([node("Sub", ["x", "r"]), node("Relu", ["x"], "r")][::-1], (6,)),
            model([node("Sub", ["r", "x"]), node("Relu", ["x"], "r")][::-1], (6,)),
        )
    }
    assert len(digests) == 9
    assert all(len(bytes.fromhex(digest)) == hashlib.sha256().digest_size for digest in digests)


def test_everything_is_immutable() -> None:
    graph = read_onnx(lenet())
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.input = "1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        graph.shapes["0"] = ()  # type: ignore[index]
    for entry in graph.nodes:
        for array in entry.operator.arrays().values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    module = to_module(graph)
    for buffer in module.buffers():
        buffer.zero_()  # the module has copies
    assert float(np.abs(graph.nodes[0].operator.arrays()["weight"]).max()) > 0


def test_summary_counts() -> None:
    network = trained("lenet")
    graph = read_onnx(lenet())
    summary = graph.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    convolutions = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25
    assert summary["multiply_adds"] == convolutions + 400 * 32 + 32 * 10
    assert summary["activation_bytes"] == 4 * 2 * 6 * 28 * 28  # Tanh, in and out
    assert [layer["operator"] for layer in summary["layers"]][:3] == ["Conv", "Tanh", "AveragePool"]
    json.dumps(operators())


def test_module_runs_in_both_precisions_and_checks_the_shape() -> None:
    graph = read_onnx(lenet())
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    assert to_module(graph, dtype=torch.float64)(x).dtype == torch.float64
    assert to_module(graph)(x.float()).dtype == torch.float32
    assert not to_module(graph).training
    with pytest.raises(ValueError, match="inputs have the shape"):
        to_module(graph)(x.float()[:, :, :-1])


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.25), ([0.1, 0.2, 0.3], [0.5, 1.0, 2.0]), ([0.4], 1.5)])
def test_normalized(mean: float | list[float], std: float | list[float]) -> None:
    data = model([node("GlobalAveragePool", ["x"], "p"), node("Flatten", ["p"])], (3, 4, 4))
    graph = read_onnx(data)
    front = normalized(graph, mean, std)
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    shift, scale = (torch.tensor(value, dtype=torch.float64).reshape(-1, 1, 1) for value in (mean, std))
    expected = to_module(graph, dtype=torch.float64)((x - shift) / scale)
    assert torch.allclose(to_module(front, dtype=torch.float64)(x), expected, rtol=1e-14)
    assert front.digest != graph.digest
    assert front.input_shape == graph.input_shape
    rule = front.nodes[1].operator.lipschitz((3, 4, 4))
    assert isinstance(rule, rules.Slope)
    assert 1 / float(scale.min()) <= rule.upper <= 1 / float(scale.min()) * (1 + 1e-12)


@pytest.mark.parametrize(("mean", "std"), [([0.0, 0.0], 1.0), (0.0, 0.0), (0.0, [1.0, -1.0, 1.0]), (np.nan, 1.0)])
def test_normalized_refuses(mean: float | list[float], std: float | list[float]) -> None:
    graph = read_onnx(model([node("Flatten", ["x"])], (3, 2, 2)))
    with pytest.raises(ValueError, match=r"mean|std"):
        normalized(graph, mean, std)


def test_normalizing_a_graph_without_nodes() -> None:
    graph = read_onnx(model([node("Identity", ["x"])], (3,)))
    assert graph.nodes == ()
    x = torch.rand(2, 3)
    assert torch.equal(to_module(graph)(x), x)
    assert torch.allclose(to_module(normalized(graph, 0.5, 2.0))(x), (x - 0.5) / 2)


def test_batch_dependence_is_found() -> None:
    assert check_batch_independence(torch.nn.Linear(4, 3), (4,))
    assert not check_batch_independence(lambda x: x - x.mean(dim=0), (4,))
    assert not check_batch_independence(lambda x: x.reshape(2, -1), (4,))


def test_gemm_weights_stay_as_the_file_has_them() -> None:
    weight = floats(6, 3)
    operator = read_onnx(model([node("Gemm", ["x", "w"])], (6,), {"w": weight})).nodes[0].operator
    assert isinstance(operator, Gemm)
    assert operator.weight.dtype == np.float32
    assert np.array_equal(operator.weight, weight.T)


def test_importing_the_graph_needs_no_onnx() -> None:
    unwanted = {"onnx", "google.protobuf", "pydantic", "onnxruntime", "safetensors"}
    probe = f"import sys, radii.graph; print(sorted({unwanted} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax"])
def test_probabilities_are_decided_by_their_logits(last: str) -> None:
    constants = {"w": floats(6, 3)}
    plain = read_onnx(model([node("Gemm", ["x", "w"])], (6,), constants))
    graph = read_onnx(model([node("Gemm", ["x", "w"], "z"), node(last, ["z"], axis=1)], (6,), constants))
    assert undecorated(graph).digest == plain.digest == undecorated(plain).digest
    assert graph.digest != plain.digest
    x = torch.randn(100, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(to_module(graph)(x).argmax(1), to_module(undecorated(graph))(x).argmax(1))
