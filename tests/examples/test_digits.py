"""The committed example: its files are fit to publish, and its networks certify what the example says they do."""

from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf.message import Message  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.datasets import load_digits

from radii.graph import Graph, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from radii.smoothing import SmoothedPrediction, certify, gaussian, input_digest, noise_key

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SMOOTHING, LIPSCHITZ, ORTHOGONAL = "digits.onnx", "digits-lipschitz.onnx", "digits-orthogonal.onnx"
DATA = "digits.npz"
SIGMA, ALPHA, RADIUS = 0.25, 0.001, 0.25
SMOOTHED = 100  # images certified by smoothing here: the demo takes 50, all 450 take the better part of a minute

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@pytest.fixture(scope="module")
def data() -> tuple[Images, Labels]:
    with np.load(DIGITS / DATA) as file:
        return file["x"], file["y"]


@cache
def graph(name: str) -> Graph:
    return read_onnx((DIGITS / name).read_bytes())


def logits(name: str, x: Images) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(DIGITS / name, options)
    result: NDArray[np.float32] = session.run(["logits"], {"x": x})[0]
    return result


def strings(message: Message) -> Iterator[tuple[str, str]]:
    """Every text in a message, with the name of its field; ``bytes`` hold numbers, but for those of attributes."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if isinstance(item, Message):
                yield from strings(item)
            elif isinstance(item, str):
                yield field.name, item
            elif field.full_name in ("onnx.AttributeProto.s", "onnx.AttributeProto.strings"):
                yield field.name, item.decode()


@pytest.mark.parametrize("name", [SMOOTHING, LIPSCHITZ, ORTHOGONAL, DATA])
def test_files_are_small(name: str) -> None:
    assert (DIGITS / name).stat().st_size < 300_000


@pytest.mark.parametrize("name", [SMOOTHING, LIPSCHITZ, ORTHOGONAL])
def test_networks_say_nothing_of_the_machine_that_trained_them(name: str) -> None:
    model = onnx.load_model(DIGITS / name, load_external_data=False)
    texts = list(strings(model))
    assert {field for field, _ in texts}.isdisjoint({"doc_string", "key", "value", "location"})
    assert not [text for _, text in texts if "/" in text or "\\" in text or ".py" in text]
    assert ("name", "x") in texts  # the walk does reach the graph


def test_data_are_held_out_rows_of_the_uci_digits(data: tuple[Images, Labels]) -> None:
    x, y = data
    assert (x.dtype, y.dtype) == (np.dtype(np.float32), np.dtype(np.int64))
    assert x.shape == (450, 1, 8, 8)
    source = load_digits()
    labels = {image.tobytes(): label for image, label in zip(source.images, source.target, strict=True)}
    assert len(labels) == len(source.images)  # no image twice, so none of ours can be among those trained on
    rows = [(16 * image[0]).astype(np.float64).tobytes() for image in x]
    assert len(set(rows)) == len(rows)
    assert [labels[row] for row in rows] == y.tolist()
    assert set(y[:50]) == set(range(10))  # what the demo certifies


@pytest.mark.parametrize("name", [SMOOTHING, LIPSCHITZ, ORTHOGONAL])
def test_clean_accuracy(name: str, data: tuple[Images, Labels]) -> None:
    x, y = data
    assert np.mean(logits(name, x).argmax(1) == y) >= 0.97


@pytest.fixture(scope="module")
def smoothed(data: tuple[Images, Labels]) -> list[SmoothedPrediction]:
    module, noise = to_module(graph(SMOOTHING)), gaussian(SIGMA)
    return [
        certify(
            module,
            torch.from_numpy(image),
            num_classes=10,
            noise=noise,
            alpha=ALPHA,
            n0=100,
            n=10_000,
            key=noise_key(
                bytes(32),
                model_digest=graph(SMOOTHING).digest,
                input_digest=input_digest(image),
                noise=noise.name,
                sigma=SIGMA,
            ),
            batch_size=1000,
        )
        for image in data[0][:SMOOTHED]
    ]


def test_smoothing_certifies(smoothed: list[SmoothedPrediction], data: tuple[Images, Labels]) -> None:
    certified = [
        result.prediction == label and result.radius is not None and result.radius >= RADIUS
        for result, label in zip(smoothed, data[1][:SMOOTHED], strict=True)
    ]
    assert np.mean(certified) >= 0.85


def test_smoothing_holds_under_other_noise(smoothed: list[SmoothedPrediction], data: tuple[Images, Labels]) -> None:
    """Fresh noise of NumPy's and onnxruntime's votes contradict no lower bound: false alarm below 1e-6 an image."""
    rng, n = np.random.default_rng(1), 2000
    for result, image in zip(smoothed, data[0][:SMOOTHED], strict=True):
        assert result.p_lower is not None
        noisy = image + np.float32(SIGMA) * rng.standard_normal((n, 1, 8, 8), np.float32)
        votes = np.sum(logits(SMOOTHING, noisy).argmax(1) == result.pilot_class)
        assert binom.cdf(votes, n, result.p_lower) > 1e-6


def matrices(name: str) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Every Conv and Gemm of a file as an explicit matrix (out, in), and its bias, from the file's own numbers.

    Convolutions tap by tap in Python: shares nothing with radii or torch.
    """
    model = onnx.load_model(DIGITS / name).graph
    constants = {i.name: onnx.numpy_helper.to_array(i).astype(np.float64) for i in model.initializer}
    weights, biases = [], []
    shape: tuple[int, ...] = (1, 8, 8)
    for node in model.node:
        attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv":
            kernel, bias = constants[node.input[1]], constants[node.input[2]]
            (stride, _), (pad, *_) = attributes["strides"], attributes["pads"]
            out = (len(kernel), *((side + 2 * pad - kernel.shape[2]) // stride + 1 for side in shape[1:]))
            matrix = np.zeros((*out, *shape))
            for o, i, u, v in np.ndindex(*kernel.shape):
                for row, column in np.ndindex(*out[1:]):
                    a, b = row * stride + u - pad, column * stride + v - pad
                    if 0 <= a < shape[1] and 0 <= b < shape[2]:
                        matrix[o, row, column, i, a, b] = kernel[o, i, u, v]
            weights.append(matrix.reshape(prod(out), prod(shape)))
            biases.append(np.repeat(bias, prod(out[1:])))
            shape = out
        elif node.op_type == "Gemm":
            assert attributes["transB"] == 1
            weights.append(constants[node.input[1]])
            biases.append(constants[node.input[2]])
    return weights, biases


def test_lipschitz_bound_certifies(data: tuple[Images, Labels]) -> None:
    """And agrees with the product of explicit SVDs: never beyond it, and near it."""
    x, y = data
    weights, biases = matrices(LIPSCHITZ)
    z = x.reshape(len(x), -1).astype(np.float64)
    norms = np.linalg.norm(z, axis=1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = np.maximum(z @ weight.T + bias, 0)
    z = z @ weights[-1].T + biases[-1]
    np.testing.assert_allclose(z, logits(LIPSCHITZ, x), atol=1e-4)  # the matrices are the network

    features = prod(np.linalg.norm(weight, 2) for weight in weights[:-1])
    pairs = np.linalg.norm(weights[-1][:, None] - weights[-1], axis=-1)
    predictions = z.argmax(1)
    others = np.arange(10) != predictions[:, None]
    margins = z.max(1, keepdims=True) - z
    exact = np.min(margins / np.where(others, pairs[predictions] * features, 1), axis=1, where=others, initial=9)
    assert exact.max() < 9

    network = graph(LIPSCHITZ)
    with torch.inference_mode():
        scores = to_module(network, dtype=torch.float64)(torch.from_numpy(x).double())
    results = margin_radius(scores, network_bound(network, bound="product"), norms=norms)
    assert [result.prediction for result in results] == predictions.tolist()
    radii = np.array([result.radius or 0.0 for result in results])
    assert np.all(radii <= exact * (1 + 1e-12))
    assert np.all(radii >= exact * 0.99)  # a padded convolution is bounded on a torus
    assert np.mean((predictions == y) & (radii >= RADIUS)) >= 0.8
    best = margin_radius(scores, network_bound(network), norms=norms)
    assert np.all(np.array([result.radius or 0.0 for result in best]) >= radii * (1 - 1e-9))


def test_orthogonal_layers_certify_more(data: tuple[Images, Labels]) -> None:
    """The bound follows from the file alone, and radii from it are margins over the root of 2, by onnxruntime's
    logits.
    """
    x, y = data
    weights, _ = matrices(ORTHOGONAL)
    assert prod(np.linalg.norm(weight, 2) for weight in weights) <= 1
    bound = network_bound(graph(ORTHOGONAL))
    assert 1 - 1e-5 <= bound.upper <= 1 + 1e-9
    results = margin_radius(bound.logits(x), bound, norms=np.linalg.norm(x.reshape(len(x), -1), axis=1))
    radii = np.array([result.radius or 0.0 for result in results])
    top = np.sort(logits(ORTHOGONAL, x).astype(np.float64), axis=1)
    np.testing.assert_allclose(radii, (top[:, -1] - top[:, -2]) / np.sqrt(2), rtol=2e-5, atol=1e-5)
    right = np.array([result.prediction for result in results]) == y
    assert np.mean(right & (radii >= RADIUS)) >= 0.91
    assert np.mean(right & (radii >= 0.5)) >= 0.67
