"""Files whose batch is fixed to 1, or moves, or is joined with another axis, against onnxruntime; mixed: refused."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import Limits, UnsupportedModel, check_batch_independence, read_onnx, to_module
from tests.graph.build import BATCH, model, node, reference, relative_gap
from tests.graph.case import Case
from tests.graph.cases import GOOD

RANDOM = np.random.default_rng(0)
CONSTANTS: dict[str, np.ndarray] = {
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


MIXED = {
    "rows moved": [JOIN, node("Transpose", ["j"], "z", perm=[1, 0, 2])],
    "softmax": [JOIN, node("Softmax", ["j"], "z", axis=0)],
    "mean of all": [JOIN, node("ReduceMean", ["j"], "m", keepdims=1), node("Mul", ["j", "m"], "z")],
    "each other's rows": [node("Slice", ["x", "last", "first", "axis", "last"], "z")],
    "broadcast": [JOIN, node("Add", ["j", "x"], "z")],
    "product of rows": [
        node("Reshape", ["x", "flat"], "j"),
        node("Transpose", ["j"], "t", perm=[1, 0]),
        node("MatMul", ["j", "t"], "s"),
        node("MatMul", ["s", "j"], "z"),
    ],
    "where it does not show": [
        node("ReduceMean", ["x"], "m", keepdims=1),
        node("Sub", ["m", "far"], "low"),
        node("Relu", ["low"], "none"),
        node("Add", ["x", "none"], "z"),
    ],
}
CONSTANTS |= {name: np.array([value], np.int64) for name, value in [("axis", 0), ("last", -1)]}
CONSTANTS |= {"first": np.array([-(2**40)], np.int64), "far": np.array(100, np.float32)}


@pytest.mark.parametrize("what", MIXED)
def test_what_mixes_samples_is_refused(what: str) -> None:
    data = finished(*MIXED[what])
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(data)
    first, *_, last = caught.value.obstacles
    assert first.node is not None  # where the batch left the first axis
    assert "other inputs of its batch" in last.reason or "batch of 1" in last.reason
    # with the batch fixed to 1 it is a function of one sample
    alone = onnx.ModelProto.FromString(data)
    alone.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    x = RANDOM.normal(size=(3, 3, 4, 6)).astype(np.float32)
    expected = np.concatenate([reference(alone.SerializeToString(), row[None]) for row in x])
    assert relative_gap(to_module(read_onnx(alone.SerializeToString()))(torch.from_numpy(x)).numpy(), expected) < 1e-5


def test_joined_logits_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="the shape \\(12, 6\\) at a batch of 1"):
        read_onnx(model([node("Reshape", ["x", "flat"])], (3, 4, 6), CONSTANTS))


def test_every_real_obstacle_is_named_and_the_batch_is_none() -> None:
    nodes = [
        node("Transpose", ["x"], "t", perm=[1, 0, 2, 3]),
        node("LSTM", ["t"], "a"),
        node("Softmax", ["t"], "s", axis=9),
        node("Add", ["a", "s"], "z"),
    ]
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(finished(*nodes))
    assert [obstacle.operator for obstacle in caught.value.obstacles] == ["LSTM", "Softmax"]


ONE = {
    "no batch axis": [
        node("Squeeze", ["x", "axis"], "s"),
        node("MatMul", ["s", "weight"], "m"),
        node("Tanh", ["m"], "z"),
    ],
    "literal ones": [node("Reshape", ["x", "ones"], "r"), node("Softmax", ["r"], "s", axis=2), node("Abs", ["s"], "z")],
    "gathered": [
        node("Gather", ["x", "axis"], "g", axis=0),
        node("Gather", ["g", "zero"], "h", axis=0),
        node("Concat", ["h", "h", "h"], "z", axis=0),
    ],
    "flat": [node("Flatten", ["x"], "f", axis=0), node("Gemm", ["f", "head"], "z")],
    "scalar": [node("ReduceMax", ["x"], "m", keepdims=0), node("Mul", ["x", "m"], "z")],
}
CONSTANTS |= {"ones": np.array([1, 1, 3, 1, 24], np.int64), "zero": np.array(0, np.int64)}
CONSTANTS |= {"last shape": np.array([1, -1], np.int64)}


@pytest.mark.parametrize("work", ONE)
@pytest.mark.parametrize("rank", [1, 2])
def test_a_batch_fixed_to_one(work: str, rank: int) -> None:
    nodes = [*ONE[work], node("Reshape", ["z", "last shape"], "row"), node("Relu", ["row"], "positive")]
    nodes.append(node("Squeeze", ["positive", "axis"]) if rank == 1 else node("Identity", ["positive"]))
    data = model(nodes, (3, 4, 6), CONSTANTS, opset=20, batch=1)
    x = RANDOM.normal(size=(5, 3, 4, 6)).astype(np.float32)
    expected = np.stack([reference(data, row[None]).reshape(-1) for row in x])
    module = to_module(read_onnx(data))
    assert relative_gap(module(torch.from_numpy(x)).numpy(), expected) < 1e-5
    assert check_batch_independence(module, (3, 4, 6))


ROWS = 3
ALONE_ONLY = ("LRN", "DepthToSpace", "SpaceToDepth")  # these need the batch, or an axis of size 1, in front


def off_the_batch() -> Iterator[Case]:
    """Up to five cases of every operator that makes as many rows as it is given, and that onnxruntime runs."""
    taken = Counter[str]()
    for case in GOOD:
        of_one_row = case.operator == "Concat" and not all(isinstance(value, str) for value in case.inputs)
        on_integers = case.operator == "Equal" and case.opset < 11  # all that onnxruntime has there
        expanded = case.operator == "Swish" and case.opset > 24  # by onnxruntime up to there, and it has no kernel
        alone = case.operator in ALONE_ONLY or "q_num_heads" in case.attributes
        if taken[case.operator] < 5 and not (of_one_row or on_integers or expanded or alone):
            taken[case.operator] += 1
            yield case


@pytest.mark.parametrize("case", list(off_the_batch()), ids=str)
def test_every_operator_off_the_batch(case: Case) -> None:
    """The batch is joined with the operator's first axis, of size 3, before it, and parted behind it."""
    proto = onnx.ModelProto.FromString(case.data())
    graph = proto.graph
    graph.input[0].CopyFrom(helper.make_tensor_value_info("whole", TensorProto.FLOAT, [BATCH, ROWS, *case.shape]))
    sizes = {"in": [-1, *case.shape], "out": [-1, ROWS * read_onnx(case.data()).num_classes]}
    graph.initializer.extend(numpy_helper.from_array(np.array(size), name) for name, size in sizes.items())
    graph.node.insert(0, node("Reshape", ["whole", "in"], "x"))
    graph.node.append(node("Reshape", ["y", "out"], "logits"))
    graph.output[0].name = "logits"
    data = proto.SerializeToString()
    x = np.random.default_rng(1).normal(size=(2, ROWS, *case.shape)).astype(np.float32)
    found, expected = to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), reference(data, x)
    assert (np.isfinite(found) == np.isfinite(expected)).all()
    assert relative_gap(*(np.nan_to_num(y, posinf=0, neginf=0) for y in (found, expected))) < 1e-5


def test_limits_hold_at_a_batch_of_one() -> None:
    many = {"huge": np.array([2**20, 3, 4, 6], np.int64), "axis": CONSTANTS["axis"]}
    nodes = [node("Squeeze", ["x", "axis"], "s"), node("Expand", ["s", "huge"], "e"), node("Flatten", ["e"], axis=0)]
    with pytest.raises(UnsupportedModel, match="over the limit"):
        read_onnx(model(nodes, (3, 4, 6), many, batch=1))
    rows: dict[str, np.ndarray] = {
        "rows": np.array([64, 1, 8, 8], np.int64),
        "kernel": np.ones((2**10, 1, 3, 3), np.float32),
        "axes": np.array([0, 2, 3], np.int64),
    }
    nodes = [node("Reshape", ["x", "rows"], "r"), node("Conv", ["r", "kernel"], "c"), node("ReduceMax", ["c", "axes"])]
    data = model(nodes, (64, 8, 8), rows, batch=1)
    with pytest.raises(UnsupportedModel, match="all constants together"):  # the kernel for each of 64 rows
        read_onnx(data, limits=Limits(total_elements=64 * 9 * 2**10))
