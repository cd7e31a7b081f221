"""Files that are no model, or not one of ours: refused with every reason at once, and never by another exception."""

import pickle
import zlib
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from radii.graph import OPERATORS, Limits, read_onnx, to_module
from radii.graph.folding import FOLDS
from radii.graph.reader import NEWEST
from tests.graph.build import model, node, reference, relative_gap
from tests.graph.refused import GEMM, WEIGHT, reasons, refusal, small


def test_the_small_file_is_read() -> None:
    x = np.random.default_rng(2).normal(size=(3, 2, 8, 8)).astype(np.float32)
    assert relative_gap(to_module(read_onnx(small()))(torch.from_numpy(x)).numpy(), reference(small(), x)) < 1e-5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + b"\0" * 40, "zip archive"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"not a model at all", "not ONNX"),
        (zlib.compress(small()), "not ONNX"),
        (small()[:300], "not ONNX"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
    ],
)
def test_no_onnx_file(data: bytes, reason: str) -> None:
    assert reason in reasons(data)


def test_every_obstacle_is_named_at_once() -> None:
    nodes = [
        node("Conv", ["x", "nan"], "a"),
        node("LSTM", ["x", "w"], "b"),
        node("Relu", ["b"], "c"),  # waits for the LSTM: nothing to say of it
        node("Scan2000", ["c"], "d"),
        node("MaxPool", ["x"], "e", kernel_shape=[2, 2], novel=1),
        helper.make_node("Tree", ["e"], ["f"], domain="ai.onnx.ml"),
        node("MatMulInteger", ["x", "w"], "g"),
        node("Sum", ["a", "d", "f", "g", "missing"], "y"),
        node("Loop", ["x"], "dead"),
    ]
    constants = {"nan": np.full((1, 2, 1, 1), np.nan, np.float32), "w": WEIGHT}
    found = refusal(model(nodes, (2, 4, 4), constants)).obstacles
    assert [(obstacle.node, obstacle.operator) for obstacle in found] == [
        (0, "Conv"),
        (1, "LSTM"),
        (3, "Scan2000"),
        (4, "MaxPool"),
        (5, "Tree"),
        (6, "MatMulInteger"),
        (7, "Sum"),
    ]
    words = ["not a number", "recurrent", "not supported", "novel", "trees", "quantised", "'missing'"]
    assert all(word in obstacle.reason for word, obstacle in zip(words, found, strict=True))


def test_control_flow() -> None:
    branch = helper.make_graph([], "branch", [], [])
    for name, attribute in (("If", "then_branch"), ("Relu", "body")):
        assert "control flow" in reasons(model([node(name, ["x"], **{attribute: branch})], (6,)))


def test_order_cycles_and_duplicates() -> None:
    cycle = [node("Add", ["x", "b"], "a"), node("Relu", ["a"], "b"), node("Flatten", ["b"], "y")]
    assert "'b', which no node before it makes" in reasons(model(cycle, (6,)))
    twice = [node("Relu", ["x"], "a"), node("Tanh", ["x"], "a"), node("Flatten", ["a"], "y")]
    assert "made twice" in reasons(model(twice, (6,)))
    assert "made twice" in reasons(model([node("Relu", ["x"], "x"), GEMM], (6,), {"w": WEIGHT}))
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    proto.graph.initializer.append(proto.graph.initializer[0])
    assert "two constants" in reasons(proto.SerializeToString())


def test_inputs() -> None:
    def edited(**changes: Any) -> bytes:
        proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
        tensor = proto.graph.input[0].type.tensor_type
        if "element" in changes:
            tensor.elem_type = changes["element"]
        if "dims" in changes:
            del tensor.shape.dim[:]
            for size in changes["dims"]:
                dim = tensor.shape.dim.add()
                if isinstance(size, int):
                    dim.dim_value = size
        if "another" in changes:
            proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 6]))
        return proto.SerializeToString()

    assert read_onnx(edited(dims=[None, 6])).input_shape == (6,)
    assert read_onnx(edited(dims=[1, 6])).input_shape == (6,)
    assert "exactly one input" in reasons(edited(another=True))
    assert "not a float32" in reasons(edited(element=TensorProto.UINT8))
    assert "batch is fixed to 8" in reasons(edited(dims=[8, 6]))
    assert "no batch axis" in reasons(edited(dims=[6]))
    assert "open on other axes" in reasons(edited(dims=[None, None]))
    assert "open on other axes" in reasons(edited(dims=[None, 0]))
    assert "entries" in reasons(edited(dims=[None, 2**40]))


def test_operands_that_are_left_out() -> None:
    """None of a list may be. onnxruntime refuses Concat's; of the others it dies (1.31)."""
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    latest = {entry.name: entry for entry in onnx.defs.get_all_schemas() if not entry.domain}
    lists = [name for name in OPERATORS.keys() | FOLDS if variadic in [entry.option for entry in latest[name].inputs]]
    assert set(lists) == {name for name, cls in OPERATORS.items() if cls.takes_list}
    for name in lists:
        needed: dict[str, dict[str, Any]] = {"Concat": {"axis": 1}, "Einsum": {"equation": "bi,bi->bi"}}
        attributes = needed.get(name, {})
        for operands in (["x", "x", ""], ["x", "", "x"], ["w", "w", ""]):
            data = model([node(name, operands, "z", **attributes), node("Add", ["x", "z"])], (3,), {"w": WEIGHT[:1]})
            assert f"node 0 ({name}): an operand has no name" in reasons(data)
            if name == "Concat":
                with pytest.raises(runtime.Fail):
                    reference(data, np.zeros((2, 3), np.float32))


def test_outputs() -> None:
    constants = {"w": WEIGHT, "one": WEIGHT[:, :1]}
    assert "at least two classes" in reasons(model([node("Gemm", ["x", "one"])], (6,), constants))
    assert "at least two classes" in reasons(model([node("Relu", ["x"])], (2, 3), constants))
    assert read_onnx(model([node("Gemm", ["x", "one"])], (6,), constants), task="regressor").num_classes == 1
    turned = model([node("Transpose", ["x"], perm=[1, 0])], (3,), constants)
    assert "first axis must be the batch" in reasons(turned, task="regressor")
    assert "does not depend" in reasons(model([node("Relu", ["x"], "r"), node("Neg", ["w"])], (6,), constants))
    assert "made by no node" in reasons(model([GEMM], (6,), constants, output="other"))
    proto = onnx.ModelProto.FromString(model([GEMM, node("Softmax", ["y"], "p")], (6,), constants))
    proto.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, None))
    data = proto.SerializeToString()
    assert "one of: 'y', 'p'" in reasons(data)
    assert "no output 'z'" in reasons(data, output="z")
    assert [node.operator.name for node in read_onnx(data, output="y").nodes] == ["Gemm"]
    assert [node.operator.name for node in read_onnx(data, output="p").nodes] == ["Gemm", "Softmax"]


@pytest.mark.parametrize("opset", [7, 27])
def test_opsets_outside_the_range(opset: int) -> None:
    assert f"the opset is {opset}" in reasons(model([GEMM], (6,), {"w": WEIGHT}, opset=opset))


def test_no_opset_since_24_changes_what_is_read() -> None:
    """But for integers of two bits and the windows of Attention, which are refused."""
    for name in OPERATORS.keys() | FOLDS:
        then, now = (onnx.defs.get_schema(name, opset) for opset in (24, NEWEST))
        new = {"left_window_size", "right_window_size"} if name == "Attention" else set()
        assert now.attributes.keys() - then.attributes.keys() <= new
        assert {key: str(now.attributes[key].default_value) for key in then.attributes} == {
            key: str(entry.default_value) for key, entry in then.attributes.items()
        }
        assert [entry.name for entry in now.inputs] == [entry.name for entry in then.inputs]
        assert [entry.name for entry in now.outputs] == [entry.name for entry in then.outputs]
        two_bits = "\n- uint2: [0, 3]\n- int2: [-2, 1]"
        assert str(now.doc).replace(two_bits, "") == then.doc or name == "Attention"
        types = [{kind for entry in one.type_constraints for kind in entry.allowed_type_strs} for one in (then, now)]
        assert all("int2" in kind for kind in types[1] - types[0])


def test_training_mode_of_old_opsets_shows_in_the_outputs() -> None:
    four = {name: np.ones(6, np.float32) for name in "gbmv"}
    norm = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y", "m2", "v2"])
    assert "model.eval()" in reasons(model([norm], (6,), four, opset=9))


def test_an_output_other_than_the_first() -> None:
    pool = helper.make_node("MaxPool", ["x"], ["values", "y"], kernel_shape=[2])
    assert "other than its first" in reasons(model([pool], (2, 4)))


HUGE = np.array([2**20, 2**20, 2**20])


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", ["huge"], "big")],
        [node("Expand", ["one", "huge"], "big")],
        [node("Tile", ["one", "huge"], "big")],
        [node("Range", ["start", "limit", "delta"], "big")],
        [node("Add", ["row", "column"], "big")],
        [node("Gather", ["row", "many"], "big", axis=0)],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_a_constant_too_large_to_make(nodes: list[onnx.NodeProto]) -> None:
    constants = {
        "huge": HUGE,
        "one": np.ones((1, 1, 1), np.float32),
        "start": np.array(0),
        "limit": np.array(2**60),
        "delta": np.array(1),
        "row": np.ones((1, 2**15), np.float32),
        "column": np.ones((2**15, 1), np.float32),
        "many": np.zeros(2**15, np.int64),
        "w": WEIGHT,
    }
    assert "over the limit" in reasons(model([*nodes, node("Mul", ["x", "big"])], (6,), constants))


def test_sizes_are_checked_before_allocation() -> None:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    proto.graph.initializer[0].dims[:] = [2**30, 2**30]
    assert "over the limit" in reasons(proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [-6, -3]
    assert "impossible shape" in reasons(proto.SerializeToString())
    proto.graph.initializer[0].dims[:] = [6, 4]
    assert "size of its shape" in reasons(proto.SerializeToString())
    pad = model(
        [node("Pad", ["x", "pads"], "p"), node("Flatten", ["p"])],
        (2, 2),
        {"pads": np.array([0, 0, 0, 0, 2**13, 2**13])},
    )
    assert "over the limit" in reasons(pad)


def test_limits() -> None:
    data = model([GEMM], (6,), {"w": WEIGHT})
    assert "bytes, over the limit" in reasons(data, limits=Limits(file_bytes=len(data) - 1))
    assert "over the limit of 17" in reasons(data, limits=Limits(tensor_elements=17))
    big = [node("ConstantOfShape", ["many"], "big"), node("Mul", ["x", "big"])]
    assert "over the limit of 999" in reasons(
        model(big, (6,), {"many": np.array([1000])}), limits=Limits(made_elements=999)
    )
    assert "all constants together" in reasons(data, limits=Limits(total_elements=17))
    assert "activation entries at once" in reasons(data, limits=Limits(activation_elements=8))
    chain = [node("Relu", ["x" if i == 0 else f"v{i}"], f"v{i + 1}") for i in range(50_000)]
    assert "50000 nodes, over the limit" in reasons(model(chain, (6,), output="v50000"))


def test_names_are_escaped_in_what_people_read() -> None:
    name = "__import__('os').system('x')\n\x1b[31m" + "a" * 500
    text = reasons(model([node("Gemm", ["x", name])], (6,)))
    assert "\x1b" not in text
    assert "a" * 100 not in text
