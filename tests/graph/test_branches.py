"""If: resolved where its condition is known at import, refused where it depends on the input's values."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import UnsupportedModel, read_onnx, to_module
from tests.graph.build import model, node, reference, relative_gap

RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(6, 3)).astype(np.float32)


def branch(name: str, nodes: list[onnx.NodeProto], output: str, **constants: np.ndarray) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    return helper.make_graph(nodes, name, [], [value], stored)


SQUEEZE = branch("then", [node("Squeeze", ["p", "axes"], "s")], "s", axes=np.array([2, 3]))
IDENTITY = branch("else", [node("LSTM", ["p"], "i")], "i")  # not taken: nobody minds

# is the last axis of the pooled image 1? as the exporters ask it
HEAD = [
    node("GlobalAveragePool", ["x"], "p"),
    node("Shape", ["p"], "shape"),
    node("Gather", ["shape", "last"], "size", axis=0),
    node("Equal", ["size", "one"], "is_one"),
]
CONSTANTS = {"last": np.array(3), "one": np.array(1), "w": WEIGHT, "not_one": np.array(7)}


def test_a_condition_on_shapes_is_resolved() -> None:
    then = branch("then", [node("Squeeze", ["p", "axes"], "s")], "s", axes=np.array([2, 3]))
    nodes = [*HEAD, node("If", ["is_one"], "q", then_branch=then, else_branch=IDENTITY), node("Gemm", ["q", "w"])]
    data = model(nodes, (6, 4, 4), CONSTANTS)
    graph = read_onnx(data)
    assert [(entry.operator.name, entry.index) for entry in graph.nodes] == [
        ("GlobalAveragePool", 0),
        ("Squeeze", 4),
        ("Gemm", 5),
    ]
    fine = branch("else", [node("Flatten", ["p"], "i")], "i")  # onnxruntime has no LSTM without weights
    nodes[4] = node("If", ["is_one"], "q", then_branch=then, else_branch=fine)
    x = RNG.normal(size=(3, 6, 4, 4)).astype(np.float32)
    expected = reference(model(nodes, (6, 4, 4), CONSTANTS), x)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < 1e-5


def test_the_other_branch_and_one_inside_of_another() -> None:
    inner = node("If", ["yes"], "deep", then_branch=SQUEEZE, else_branch=IDENTITY)
    outer = branch("else", [inner], "deep", yes=np.array(True))
    nodes = [*HEAD, node("Not", ["is_one"], "no"), node("If", ["no"], "q", then_branch=IDENTITY, else_branch=outer)]
    data = model([*nodes, node("Gemm", ["q", "w"])], (6, 4, 4), CONSTANTS)
    x = RNG.normal(size=(3, 6, 4, 4)).astype(np.float32)
    plain = model([HEAD[0], node("Flatten", ["p"], "q"), node("Gemm", ["q", "w"])], (6, 4, 4), {"w": WEIGHT})
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), reference(plain, x)) < 1e-5


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (
            [node("Greater", ["x", "one"], "c"), node("If", ["c"], "q", then_branch=SQUEEZE, else_branch=IDENTITY)],
            "depends on the input's values",
        ),
        ([node("If", ["missing"], "q", then_branch=SQUEEZE, else_branch=IDENTITY)], "'missing', which no node"),
        ([node("If", ["true"], "q", then_branch=SQUEEZE)], "without its two branches"),
        ([node("If", ["true"], "q", then_branch=IDENTITY, else_branch=SQUEEZE)], "recurrent"),
        (
            [node("If", ["true"], "q", then_branch=branch("t", [node("Relu", ["p"], "p")], "p"), else_branch=IDENTITY)],
            "made twice",
        ),
    ],
)
def test_what_is_refused(nodes: list[onnx.NodeProto], reason: str) -> None:
    constants = {"w": WEIGHT, "one": np.array(1, np.float32), "true": np.array(True)}
    data = model([HEAD[0], *nodes, node("Gemm", ["q", "w"])], (6, 4, 4), constants)
    with pytest.raises(UnsupportedModel, match=reason):
        read_onnx(data)


def test_erfc_as_keras_writes_it() -> None:
    """Its GELU is x erfc(-x/sqrt 2)/2, and Erfc no operator of ONNX: the reference spells it with Erf."""
    front = [node("Neg", ["x"], "n"), node("Div", ["n", "root"], "d")]
    back = [node("Mul", ["x", "e"], "g"), node("Mul", ["g", "half"])]
    constants = {"root": np.array(np.sqrt(2), np.float32), "half": np.array(0.5, np.float32)}
    constants["one"] = np.array(1, np.float32)
    keras = model([*front, node("Erfc", ["d"], "e"), *back], (6,), constants)
    spelled = model([*front, node("Erf", ["d"], "f"), node("Sub", ["one", "f"], "e"), *back], (6,), constants)
    x = RNG.normal(size=(20, 6)).astype(np.float32) * 3
    assert relative_gap(to_module(read_onnx(keras))(torch.from_numpy(x)).numpy(), reference(spelled, x)) < 1e-5
    assert read_onnx(keras).digest == read_onnx(spelled).digest
