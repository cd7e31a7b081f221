"""The batch joined with another axis and parted again, against onnxruntime; what is never parted is refused."""

import numpy as np
import onnx
import pytest
import torch

from radii.graph import UnsupportedModel, check_batch_independence, read_onnx, to_module
from tests.graph.build import model, node, reference, relative_gap

RANDOM = np.random.default_rng(0)
CONSTANTS = {
    "rows": np.array([-1, 4, 6], np.int64),
    "flat": np.array([-1, 6], np.int64),
    "apart": np.array([-1, 72], np.int64),
    "weight": RANDOM.normal(size=(6, 6)).astype(np.float32),
    "bias": RANDOM.normal(size=(1, 4, 6)).astype(np.float32),
    "features": RANDOM.uniform(0.5, 1.5, size=6).astype(np.float32),
    "head": RANDOM.normal(size=(72, 5)).astype(np.float32),
}


def finished(*nodes: onnx.NodeProto) -> bytes:
    """The given nodes on ``x`` of (batch, 3, 4, 6), making ``z``; then the batch apart again, and a head."""
    end = [node("Reshape", ["z", "apart"], "back"), node("MatMul", ["back", "head"])]
    return model([*nodes, *end], (3, 4, 6), CONSTANTS, opset=20)


JOIN = node("Reshape", ["x", "rows"], "j")
WORK = {
    "attention": [
        JOIN,
        node("Transpose", ["j"], "t", perm=[0, 2, 1]),
        node("MatMul", ["j", "t"], "s"),
        node("Softmax", ["s"], "p", axis=2),
        node("MatMul", ["p", "j"], "z"),
    ],
    "layer norm": [
        JOIN,
        node("LayerNormalization", ["j", "features"], "n", axis=-1),
        node("MatMul", ["n", "weight"], "m"),
        node("Add", ["m", "bias"], "a"),
        node("Gelu", ["a"], "z"),
    ],
    "batch norm of rows": [
        node("Reshape", ["x", "flat"], "j"),
        node("BatchNormalization", ["j", "features", "features", "features", "features"], "z"),
    ],
    "flatten": [node("Flatten", ["x"], "j", axis=3), node("MatMul", ["j", "weight"], "z")],
    "joined twice": [JOIN, node("Reshape", ["j", "flat"], "k"), node("Relu", ["k"], "z")],
}


@pytest.mark.parametrize("work", WORK)
def test_joined_and_parted_equals_onnxruntime(work: str) -> None:
    data = finished(*WORK[work])
    module = to_module(read_onnx(data))
    x = RANDOM.normal(size=(5, 3, 4, 6)).astype(np.float32)
    assert relative_gap(module(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5
    assert check_batch_independence(module, (3, 4, 6))


@pytest.mark.parametrize(
    "nodes",
    [
        [JOIN, node("Transpose", ["j"], "z", perm=[1, 0, 2])],
        [JOIN, node("Softmax", ["j"], "z", axis=0)],
        [JOIN, node("ReduceMean", ["j"], "z", keepdims=1)],
        [JOIN, node("Add", ["j", "x"], "z")],
        [node("Reshape", ["x", "flat"], "j"), node("MatMul", ["weight", "j"], "z")],
        [node("Reshape", ["x", "flat"], "j"), node("MatMul", ["j", "j"], "z")],
        [
            node("Reshape", ["x", "flat"], "j"),
            node("MatMul", ["j", "weight"], "m"),
            node("Concat", ["m", "m"], "z", axis=0),
        ],
    ],
)
def test_what_mixes_joined_samples_is_refused(nodes: list[onnx.NodeProto]) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(finished(*nodes))
    assert caught.value.obstacles[0].operator == "Reshape"  # the node that joined them


def test_joined_logits_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="joined or cut"):
        read_onnx(model([node("Reshape", ["x", "flat"])], (3, 4, 6), CONSTANTS))
