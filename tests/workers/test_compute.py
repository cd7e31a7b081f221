"""What the runner computes, without the processes around it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import normalized, read_onnx
from workers.compute import Bench


def probabilities_onnx(weight: np.ndarray) -> bytes:
    """A linear classifier of 6 numbers that ends in a softmax."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["batch", weight.shape[1]])]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def test_a_final_softmax_costs_no_radius(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((6, 4)).astype(np.float32)
    x = draw.uniform(0, 1, (20, 6)).astype(np.float32)
    files = {name: tmp_path / name for name in ("model.onnx", "x.npy")}
    files["model.onnx"].write_bytes(probabilities_onnx(weight))
    np.save(files["x.npy"], x)
    mean, std = [0.5], [0.25]
    order = {
        "method": {"kind": "lipschitz"},
        "settings": {"input": {"shape": [6], "mean": mean, "std": std}, "output": None},
        "digest": normalized(read_onnx(probabilities_onnx(weight)), mean, std).digest,
        "file": str(files["model.onnx"]),
        "external_data": {},
        "x": str(files["x.npy"]),
        "y": None,
        "indices": list(range(20)),
        "chunks": [],
        "batch_size": 7,
        "device": "cpu",
    }
    results: list[Any] = []
    assert Bench().work(order, lambda kind, value: results.append(value) if kind == "result" else None) is None
    w = weight.astype(np.float64).T / std[0]
    logits = w @ (x.astype(np.float64) - mean[0]).T
    assert len(results) == 20
    for result, z in zip(results, logits.T, strict=True):
        y = int(z.argmax())
        exact = min((z[y] - z[j]) / np.linalg.norm(w[y] - w[j]) for j in range(4) if j != y)
        assert result["prediction"] == y
        assert exact * (1 - 1e-6) <= result["radius"] <= exact
    assert torch.get_num_threads() == 1
