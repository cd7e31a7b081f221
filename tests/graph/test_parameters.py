"""Constants that become values of every sample: class tokens, position embeddings, and what is cast to two bytes."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from radii.graph import Graph, UnsupportedModel, check_batch_independence, read_onnx, rules, to_module
from tests.graph.build import model, node, reference, relative_gap

RNG = np.random.default_rng(5)
TOKEN = RNG.normal(size=(1, 1, 4)).astype(np.float32)
W = RNG.normal(size=(16, 3)).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


SIZES = [
    node("Shape", ["x"], "s"),
    node("Gather", ["s", "zero"], "b1", axis=0),
    node("Concat", ["b1", "rest"], "target", axis=0),
]
HEAD = [
    node("Concat", ["token", "x"], "joined", axis=1),
    node("Flatten", ["joined"], "flat"),
    node("Gemm", ["flat", "w"]),
]
CONSTANTS = {"c": TOKEN, "w": W, "zero": i64(0)}


def compared(data: bytes, batches: tuple[int, ...]) -> Graph:
    graph = read_onnx(data)
    for batch in batches:
        x = np.random.default_rng(batch).normal(size=(batch, 3, 4)).astype(np.float32)
        assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5
    assert check_batch_independence(to_module(graph), (3, 4))
    return graph


@pytest.mark.parametrize(
    ("made", "rest"),
    [
        (node("Expand", ["c", "target"], "token"), (1, 4)),
        (node("Expand", ["c", "target"], "token"), (1, 1)),
        (node("Tile", ["c", "target"], "token"), (1, 1)),
        (node("ConstantOfShape", ["target"], "token"), (1, 4)),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else str(value),
)
def test_a_constant_repeated_for_every_sample(made: onnx.NodeProto, rest: tuple[int, ...]) -> None:
    graph = compared(model([*SIZES, made, *HEAD], (3, 4), {**CONSTANTS, "rest": i64(*rest)}), (1, 5))
    parameter = next(entry.operator for entry in graph.nodes if entry.operator.name == "Parameter")
    assert parameter.lipschitz((3, 4)) == rules.Slope(0.0)


def test_a_constant_joined_to_an_activation() -> None:
    """As a file with a fixed batch of 1 has it; every sample gets it."""
    data = model(HEAD, (3, 4), {"token": TOKEN, "w": W}, batch=1)
    graph = compared(data, (1,))
    x = np.random.default_rng(9).normal(size=(4, 3, 4)).astype(np.float32)
    rows = np.concatenate([reference(data, row[None]) for row in x])
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), rows) < 1e-5


def test_sizes_divided_by_split() -> None:
    nodes = [
        node("Shape", ["x"], "s"),
        onnx.helper.make_node("Split", ["s"], ["b1", "unused", "length"], axis=0),
        node("Concat", ["b1", "minus"], "target", axis=0),
        node("Reshape", ["x", "target"], "flat"),
        node("Gemm", ["flat", "w"]),
    ]
    compared(model(nodes, (3, 4), {"w": W[:12], "minus": i64(-1)}, opset=13), (1, 5))


@pytest.mark.parametrize(
    ("made", "constants", "reason"),
    [
        (
            node("Expand", ["c", "target"], "token"),
            {"c": TOKEN.repeat(2, axis=0), "rest": i64(1, 4)},
            "differ",
        ),
        (node("Expand", ["c", "target"], "token"), {"c": i64(3), "rest": i64(1, 4)}, "floats"),
        (node("Expand", ["c", "target"], "token"), {"c": TOKEN, "rest": i64(2**40, 4)}, "over the limit"),
        (node("Expand", ["c", "target"], "token"), {"c": TOKEN, "rest": i64(0, 4)}, "empty"),
        (node("Tile", ["c", "target"], "token"), {"c": TOKEN, "rest": i64(1)}, "repeats"),
    ],
)
def test_constants_that_can_not_be_repeated(made: onnx.NodeProto, constants: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        read_onnx(model([*SIZES, made, *HEAD], (3, 4), {**CONSTANTS, **constants}))


def test_a_constant_cast_to_float16_is_rounded_to_it() -> None:
    nodes = [node("Cast", ["c"], "h", to=10), node("Cast", ["h"], "d", to=1), node("Mul", ["x", "d"])]
    data = model(nodes, (4,), {"c": TOKEN.reshape(4)})
    x = np.ones((2, 4), np.float32)
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), reference(data, x)) == 0
