"""A linear classifier, radius known exactly: ``min_j (z_y - z_j) / ||w_y - w_j||``. From ONNX bytes to radii."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import certify, gaussian, input_digest, noise_key

D = 20
SIGMA = 0.25


def linear_onnx(weight: np.ndarray, bias: np.ndarray) -> bytes:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", D])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", len(bias)])]
    graph = helper.make_graph([node], "linear", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def exact(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> tuple[int, float]:
    """Prediction and radius, in extended precision."""
    w, b, z = weight.astype(np.longdouble), bias.astype(np.longdouble), x.astype(np.longdouble)
    logits = w @ z + b
    y = int(logits.argmax())
    return y, min(float((logits[y] - logits[j]) / np.sqrt(np.sum((w[y] - w[j]) ** 2))) for j in range(len(b)) if j != y)


def test_the_lipschitz_radius_is_the_exact_one_from_below() -> None:
    draw = np.random.default_rng(0)
    for classes in (2, 5, 10):
        weight = draw.standard_normal((classes, D)).astype(np.float32)
        bias = draw.standard_normal(classes).astype(np.float32)
        graph = read_onnx(linear_onnx(weight, bias))
        bound = network_bound(graph)
        x = draw.uniform(0, 1, (200, D)).astype(np.float32)
        with torch.inference_mode():
            logits = to_module(graph, dtype=torch.float64)(torch.from_numpy(x).double())
        for row, margin in zip(x, margin_radius(logits, bound, norms=np.linalg.norm(x, axis=1)), strict=True):
            prediction, radius = exact(weight, bias, row)
            assert margin.prediction == prediction
            assert margin.radius is not None
            assert radius * (1 - 1e-6) <= margin.radius <= radius


@pytest.mark.parametrize("multiple", [0.3, 0.5, 1.0, 1.5, 2.0])
def test_smoothing_never_exceeds_the_exact_radius_and_reaches_nine_tenths_of_it(multiple: float) -> None:
    """Fixed key and n = 100,000: each certificate may exceed with probability 0.001, so a fresh key would fail one of
    the five with probability 0.005 at most; this key is known not to."""
    draw = np.random.default_rng(1)
    weight = draw.standard_normal((2, D)).astype(np.float32)
    x = draw.uniform(0, 1, D).astype(np.float32)
    difference = weight[0].astype(float) - weight[1].astype(float)
    wanted = multiple * SIGMA * np.linalg.norm(difference)
    bias = np.array([wanted - difference @ x, 0], dtype=np.float32)  # float32: the radius differs a little from asked
    prediction, radius = exact(weight, bias, x)
    assert radius == pytest.approx(multiple * SIGMA, rel=1e-4)

    module = to_module(read_onnx(linear_onnx(weight, bias)))
    key = noise_key(bytes(32), model_digest="linear", input_digest=input_digest(x), noise="gaussian", sigma=SIGMA)
    answer = certify(
        module,
        torch.from_numpy(x),
        num_classes=2,
        noise=gaussian(SIGMA),
        alpha=0.001,
        n0=100,
        n=100_000,
        key=key,
        batch_size=1000,
    )
    assert answer.prediction == prediction
    assert answer.radius is not None
    assert 0.9 * radius <= answer.radius <= radius
