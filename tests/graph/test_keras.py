"""NHWC heads, as converters of Keras networks write them: the function and the bound are those of their NCHW twins."""

import numpy as np
import onnx
import pytest
import torch

from radii.graph import Graph, read_onnx, to_module
from radii.lipschitz import network_bound
from tests.graph.build import model, node, reference, relative_gap

RNG = np.random.default_rng(12)
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


KERNEL, BIAS, DENSE = floats(4, 3, 3, 3), floats(4), floats(4 * 3 * 3, 5)
CONV = {"strides": [2, 2], "auto_pad": "SAME_UPPER"}


def permuted(dense: np.ndarray) -> np.ndarray:
    """A dense layer on flattened NHWC pixels as one on flattened NCHW pixels."""
    return dense.reshape(3, 3, 4, 5).transpose(2, 0, 1, 3).reshape(-1, 5)


def agree(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int) -> tuple[Graph, np.ndarray]:
    """The graph of nodes on NHWC images, equal to onnxruntime, and the images."""
    data = model(nodes, (6, 6, 3), constants, opset=opset)
    graph = read_onnx(data)
    x = floats(4, 6, 6, 3)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5
    return graph, x


@pytest.mark.parametrize("opset", [8, 13, 18, 23])
def test_a_head_of_transposes_changes_neither_logits_nor_bound(opset: int) -> None:
    nodes = [
        node("Transpose", ["x"], "t", perm=TO_NCHW),
        node("Conv", ["t", "k", "b"], "c", **CONV),
        node("Relu", ["c"], "r"),
        node("Transpose", ["r"], "u", perm=TO_NHWC),
        node("Reshape", ["u", "flat"], "f"),
        node("MatMul", ["f", "w"]),
    ]
    constants = {"k": KERNEL, "b": BIAS, "flat": np.array([-1, 36]), "w": DENSE}
    graph, x = agree(nodes, constants, opset)
    plain = [
        node("Conv", ["x", "k", "b"], "c", **CONV),
        node("Relu", ["c"], "r"),
        node("Reshape", ["r", "flat"], "f"),
        node("MatMul", ["f", "w"]),
    ]
    twin = read_onnx(model(plain, (3, 6, 6), {**constants, "w": permuted(DENSE)}, opset=opset))
    found = to_module(graph)(torch.from_numpy(x))
    assert torch.allclose(found, to_module(twin)(torch.from_numpy(x).permute(*TO_NCHW)), rtol=1e-5, atol=1e-5)
    assert network_bound(graph).upper == pytest.approx(network_bound(twin).upper, rel=1e-6)


@pytest.mark.parametrize("opset", [9, 17, 23])
def test_channels_last_between_the_layers(opset: int) -> None:
    """Bias, batch norm and dense layers on the last axis of pixels, a Transpose around each convolution."""
    nodes = [
        node("Transpose", ["x"], "t", perm=TO_NCHW),
        node("Conv", ["t", "k"], "c", **CONV),
        node("Transpose", ["c"], "u", perm=TO_NHWC),
        node("Add", ["u", "b"], "a"),
        node("Mul", ["a", "scale"], "s"),
        node("Add", ["s", "shift"], "n"),
        node("MatMul", ["n", "d"], "m"),
        node("Relu", ["m"], "r"),
        node("Transpose", ["r"], "v", perm=TO_NCHW),
        node("GlobalAveragePool", ["v"], "p"),
        node("Transpose", ["p"], "q", perm=TO_NHWC),
        node("Flatten", ["q"]),
    ]
    constants = {"k": KERNEL, "b": BIAS, "scale": floats(4), "shift": floats(4), "d": floats(4, 5)}
    graph, _ = agree(nodes, constants, opset)
    module = to_module(graph, dtype=torch.float64)
    upper = network_bound(graph).upper
    rows = torch.from_numpy(floats(5, 6, 6, 3)).double()
    jacobians = torch.func.vmap(torch.func.jacrev(lambda row: module(row[None])[0]))(rows)
    steepest = float(torch.linalg.matrix_norm(jacobians.flatten(2), 2).max())
    assert steepest <= upper <= 20 * steepest
