"""Fewer nodes, the same function: batch norms and biases folded, what nothing needs gone."""

import numpy as np
import pytest
import torch
from onnx import helper

from radii.graph import (
    read_onnx,
    to_module,
)
from tests.graph.build import model, node, reference, relative_gap

RNG = np.random.default_rng(9)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def norm_constants(channels: int) -> dict[str, np.ndarray]:
    return {"g": floats(channels), "b": floats(channels), "m": floats(channels), "v": np.abs(floats(channels)) + 0.1}


NORM = node("BatchNormalization", ["a", "g", "b", "m", "v"], "n", epsilon=0.01)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("before", "weight", "channels", "shape"),
    [
        (("Conv", {"pads": [1, 1, 1, 1]}), floats(5, 3, 3, 3), 5, (3, 6, 6)),
        (("Gemm", {}), floats(6, 5), 5, (6,)),
        (("MatMul", {}), floats(6, 5), 5, (6,)),
    ],
)
def test_batch_norm_is_folded_into_the_layer_before(
    before: tuple[str, dict[str, list[int]]], weight: np.ndarray, channels: int, shape: tuple[int, ...], bias: bool
) -> None:
    name, attributes = before
    constants = {**norm_constants(channels), "w": weight}
    inputs = ["x", "w"]
    if bias and name != "MatMul":
        constants["c"] = floats(channels)
        inputs.append("c")
    nodes = [node(name, inputs, "a", **attributes), NORM, node("Flatten", ["n"])]
    data = model(nodes, shape, constants)
    graph = read_onnx(data)
    assert "BatchNormalization" not in graph.summary()["operators"]
    assert graph.nodes[0].operator.arrays()["weight"].dtype == np.float64
    x = RNG.normal(size=(4, *shape)).astype(np.float32)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


def test_batch_norm_stays_where_the_layer_before_is_used_twice_or_has_other_axes() -> None:
    shared = [node("Conv", ["x", "w"], "a"), NORM, node("Add", ["a", "n"], "s"), node("Flatten", ["s"])]
    positions = [node("MatMul", ["x", "w"], "a"), NORM, node("Flatten", ["n"])]
    for nodes, weight, channels, shape in (
        (shared, floats(4, 2, 1, 1), 4, (2, 3, 3)),
        (positions, floats(6, 5), 3, (3, 6)),
    ):
        data = model(nodes, shape, {**norm_constants(channels), "w": weight})
        graph = read_onnx(data)
        assert "BatchNormalization" in graph.summary()["operators"]
        x = RNG.normal(size=(4, *shape)).astype(np.float32)
        assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


def test_dead_branches_and_no_ops_go() -> None:
    nodes = [
        node("Identity", ["x"], "i"),
        node("Dropout", ["i"], "d"),
        node("LSTM", ["x"], "dead"),
        helper.make_node("ArgMax", ["y"], ["also_dead"]),
        node("Gemm", ["d", "w"]),
    ]
    graph = read_onnx(model([nodes[0], nodes[1], nodes[2], nodes[4], nodes[3]], (6,), {"w": floats(6, 3)}))
    assert [(entry.operator.name, entry.index) for entry in graph.nodes] == [("Gemm", 3)]


@pytest.mark.parametrize(
    ("layer", "weight", "bias", "shape"),
    [
        ("MatMul", floats(6, 5), floats(5), (6,)),
        ("MatMul", floats(6, 5), floats(1), (6,)),
        ("Conv", floats(5, 3, 2, 2), floats(1, 5, 1, 1), (3, 4, 4)),
        ("Conv", floats(5, 3, 2, 2), floats(5, 1, 1), (3, 4, 4)),
    ],
)
def test_a_bias_added_by_a_node_of_its_own_is_folded_and_the_batch_norm_behind_it_too(
    layer: str, weight: np.ndarray, bias: np.ndarray, shape: tuple[int, ...]
) -> None:
    """As Keras writes dense layers."""
    nodes = [node(layer, ["x", "w"], "k"), node("Add", ["k", "c"], "a"), NORM, node("Flatten", ["n"])]
    data = model(nodes, shape, {**norm_constants(5), "w": weight, "c": bias})
    graph = read_onnx(data)
    assert graph.nodes[0].operator.name == layer
    assert not {"Add", "BatchNormalization"} & set(graph.summary()["operators"])
    x = RNG.normal(size=(4, *shape)).astype(np.float32)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


def test_an_addition_that_is_no_bias_stays() -> None:
    for constant in (floats(3, 1), floats(3, 5), floats(1, 3, 5)):
        data = model(
            [node("MatMul", ["x", "w"], "k"), node("Add", ["k", "c"], "a"), node("Flatten", ["a"])],
            (3, 6),
            {"w": floats(6, 5), "c": constant},
        )
        graph = read_onnx(data)
        assert "Add" in graph.summary()["operators"]
        x = RNG.normal(size=(2, 3, 6)).astype(np.float32)
        assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5
