"""Shape arithmetic at import: none of it is left, whatever its length, and the batch is free."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from radii.graph import UnsupportedModel, read_onnx, to_module
from tests.graph.build import model, node, reference, relative_gap
from tests.graph.case import ints as i64

W = np.random.default_rng(4).normal(size=(24, 3)).astype(np.float32)


def check(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
    """Nodes from ``x`` (batch, 2, 3, 4) to ``flat``, then a Gemm: like onnxruntime at every batch size."""
    data = model([*nodes, node("Gemm", ["flat", "w"])], (2, 3, 4), {**constants, "w": W})
    graph = read_onnx(data)
    assert [entry.operator.name for entry in graph.nodes] == ["Reshape", "Gemm"]
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, 2, 3, 4)).astype(np.float32)
        assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


def test_view_by_the_size_of_the_batch() -> None:
    nodes = [
        node("Shape", ["x"], "s"),
        node("Gather", ["s", "zero"], "b", axis=0),
        node("Unsqueeze", ["b", "axes"], "b1"),
        node("Concat", ["b1", "minus"], "t", axis=0),
        node("Reshape", ["x", "t"], "flat"),
    ]
    check(nodes, {"zero": np.array(0), "axes": i64(0), "minus": i64(-1)})


def test_a_size_computed_the_long_way_round() -> None:
    """numel / batch, the batch through Where(Equal(...)) as Expand's idiom has it, Cast and Slice in between."""
    nodes = [
        node("Size", ["x"], "n"),
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "s32", to=7),
        node("Slice", ["s32", "zero", "one"], "b"),
        node("Div", ["n", "b"], "features"),
        node("Equal", ["b", "minus"], "is_free"),
        node("Where", ["is_free", "one", "b"], "head"),
        node("Concat", ["head", "features"], "t", axis=0),
        node("Reshape", ["x", "t"], "flat"),
    ]
    check(nodes, {"zero": i64(0), "one": i64(1), "minus": i64(-1)})


def test_a_fixed_batch_of_one_is_made_free() -> None:
    data = model(
        [node("Reshape", ["x", "t"], "flat"), node("Gemm", ["flat", "w"])],
        (2, 3, 4),
        {"t": i64(1, -1), "w": W},
        batch=1,
    )
    graph = read_onnx(data)
    x = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)
    rows = np.concatenate([reference(data, row[None]) for row in x])
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), rows) < 1e-5


@pytest.mark.parametrize("target", [(-1, 12), (24, -1), (2, -1)])
def test_samples_are_never_joined_nor_cut(target: tuple[int, ...]) -> None:
    for batch in (1, "batch"):
        data = model([node("Reshape", ["x", "t"])], (2, 3, 4), {"t": i64(*target)}, batch=batch)
        with pytest.raises(UnsupportedModel, match="batch"):
            read_onnx(data)


def test_the_batch_size_is_no_number() -> None:
    nodes = [
        node("Shape", ["x"], "s"),
        node("Cast", ["s"], "f", to=1),
        node("Slice", ["f", "zero", "one"], "b"),
        node("Div", ["x", "b"], "d"),
        node("Flatten", ["d"]),
    ]
    with pytest.raises(UnsupportedModel, match="used as a number"):
        read_onnx(model(nodes, (2, 3), {"zero": i64(0), "one": i64(1)}))


@pytest.mark.parametrize(
    "value",
    [
        {"value_floats": [1.5, 2.0]},
        {"value_float": 2.5},
        {"value": onnx.numpy_helper.from_array(np.ones(2, np.float32))},
    ],
    ids=str,
)
def test_constant_nodes(value: dict[str, Any]) -> None:
    data = model([node("Constant", [], "c", **value), node("Mul", ["x", "c"])], (2,))
    x = np.ones((2, 2), np.float32)
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), reference(data, x)) == 0


def chain(rng: np.random.Generator, length: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """So many integer nodes as dynamo writes them, whose last value is [batch, 24], by a long way round."""
    nodes = [node("Shape", ["x"], "s"), node("Slice", ["s", "zero", "one"], "v0")]
    constants = {"zero": i64(0), "one": i64(1), "scalar": np.array(0), "none": i64(), "rest": i64(24)}
    name, number = "v0", 0

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        nonlocal number
        number += 1
        nodes.append(node(operator, list(inputs), f"v{number}", **attributes))
        return f"v{number}"

    while len(nodes) < length - 2:
        value = int(rng.integers(2, 9))
        constants[f"c{value}"] = i64(value)
        match int(rng.integers(7)):
            case 0:
                name = add("Sub", add("Add", name, f"c{value}"), f"c{value}")
            case 1:
                name = add("Div", add("Mul", f"c{value}", name), f"c{value}")
            case 2:
                name = add("Unsqueeze", add("Squeeze", name, "zero"), "zero")
            case 3:
                name = add("Slice", add("Concat", name, f"c{value}", axis=0), "zero", "one")
            case 4:
                name = add("Where", add("Equal", name, "zero"), f"c{value}", name)
            case 5:
                name = add("Reshape", add("Gather", name, "scalar", axis=0), "one")
            case _:
                name = add("Cast", add("Cast", add("Neg", add("Neg", name)), to=6), to=7)
    nodes += [node("Concat", [name, "rest"], "t", axis=0), node("Reshape", ["x", "t"], "flat")]
    return nodes, constants


@pytest.mark.parametrize("seed", range(3))
def test_arithmetic_of_more_than_a_thousand_nodes(seed: int) -> None:
    """As in dynamo's vision files: all of it is affine in the batch, and none of it is left."""
    nodes, constants = chain(np.random.default_rng(seed), 1200)
    assert len(nodes) >= 1200
    check(nodes, constants)
