"""Small files to spoil, and what is said of a spoiled one."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from radii.graph import UnsupportedModel, read_onnx
from tests.graph.build import model, node

WEIGHT = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)

GEMM = node("Gemm", ["x", "w"])


def small() -> bytes:
    """A small file with a bit of everything: weights, attributes, shape arithmetic."""
    rng = np.random.default_rng(1)
    nodes = [
        node("Conv", ["x", "k", "b"], "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c", "b", "b", "b", "v"], "n", epsilon=0.01),
        node("MaxPool", ["n"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["p"], "s"),
        node("Gather", ["s", "zero"], "size", axis=0),
        node("Unsqueeze", ["size", "axes"], "head"),
        node("Concat", ["head", "rest"], "target", axis=0),
        node("Reshape", ["p", "target"], "flat"),
        node("Gemm", ["flat", "w"], "y", transB=1),
    ]
    constants = {
        "k": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "b": rng.normal(size=4).astype(np.float32),
        "v": np.ones(4, np.float32),
        "zero": np.array(0),
        "axes": np.array([0]),
        "rest": np.array([-1]),
        "w": rng.normal(size=(3, 16)).astype(np.float32),
    }
    return model(nodes, (2, 8, 8), constants)


def conditional() -> bytes:
    """A small file with an If on its shapes inside of another, as legacy exporters write a squeeze."""
    squeeze = _branch([node("Squeeze", ["p", "axes"], "s")], "s", axes=np.array([2, 3]))
    flatten = _branch([node("Flatten", ["p"], "f")], "f")
    inner = _branch([node("If", ["yes"], "i", then_branch=squeeze, else_branch=flatten)], "i", yes=np.array(True))
    nodes = [
        node("GlobalAveragePool", ["x"], "p"),
        node("Shape", ["p"], "shape"),
        node("Gather", ["shape", "last"], "size", axis=0),
        node("Equal", ["size", "one"], "is_one"),
        node("If", ["is_one"], "q", then_branch=inner, else_branch=flatten),
        node("Gemm", ["q", "w"]),
    ]
    return model(nodes, (6, 4, 4), {"last": np.array(3), "one": np.array(1), "w": WEIGHT})


def _branch(nodes: list[onnx.NodeProto], output: str, **constants: np.ndarray) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(
        nodes, "branch", [], [value], [numpy_helper.from_array(a, n) for n, a in constants.items()]
    )


def refusal(data: bytes, **options: object) -> UnsupportedModel:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(data, **options)  # type: ignore[arg-type]
    assert all(obstacle.reason and obstacle.remedy for obstacle in caught.value.obstacles)
    return caught.value


def reasons(data: bytes, **options: object) -> str:
    return str(refusal(data, **options))
