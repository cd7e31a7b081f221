"""Small files that were once misjudged (``tests/data/real``), each standing for its kind: what must become of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from radii.graph import UnsupportedModel, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from tests.acceptance import real
from tests.graph.build import model, node, onnxruntime_on_rows, reference, relative_gap
from tests.graph.refused import reasons, refusal

RANDOM = np.random.default_rng(5)


@dataclass(frozen=True)
class Taken:
    """What a file is read as."""

    shape: tuple[int, ...]
    classes: int
    output: str | None = None
    declared: bool = False  # the shape, since the file leaves it open
    gap: float = 1e-5  # to onnxruntime's outputs, of the largest


HALF = 2e-3  # where onnxruntime rounds to float16
TAKEN = {
    "actor_critic": Taken((6,), 3, output="action"),
    "batch_minus_one": Taken((4,), 3),
    "br_CReLU": Taken((16,), 4),
    "br_SplitConcat": Taken((16,), 4),
    "center_channel": Taken((4, 3, 3), 3),
    "center_space": Taken((4, 3, 3), 3),
    "const": Taken((6,), 2),
    "deel_dense_GroupSort2": Taken((16,), 4),
    "deel_dense_MaxMin": Taken((16,), 4),
    "dueling": Taken((6,), 4),
    "dyn_hw": Taken((3, 7, 9), 3, declared=True),
    "einsum_dense": Taken((4, 64), 3),
    "end_sigmoid": Taken((5,), 4),
    "end_softmax": Taken((5,), 4),
    "f16k": Taken((6,), 3, gap=HALF),
    "f16s": Taken((6,), 3, gap=HALF),
    "keras_jax_ln": Taken((16, 16, 3), 10),
    "lip1_center_relu": Taken((16,), 4),
    "lip1_minmax": Taken((16,), 4),
    "matmul_vector": Taken((5, 4), 5),
    "maxmin_ReluDiff": Taken((16,), 4),
    "maxmin_Split": Taken((16,), 4),
    "maxmin_Where": Taken((16,), 4),
    "no_batch_axis": Taken((4,), 3, declared=True),
    "open_pixels": Taken((3, 9, 7), 3, declared=True),
    "opset_twice_same": Taken((4,), 3),
    "out_N211": Taken((3, 8, 8), 2),
    "rgb": Taken((3, 8, 8), 2),
    "skl_digits_pipe": Taken((64,), 10, output="probabilities"),
    "two_mul0": Taken((5,), 2),
    "weight_dq": Taken((3, 4, 4), 2),
}
# What is said of a file, an obstacle each: the node that it names, or None, and words of its reason and remedy.
OUTPUTS = {"skl_lr_nozip": "probabilities", "skl_mlp_default": "output_probability"}
REFUSED: dict[str, list[tuple[int | None, str, str]]] = {
    "actor_critic": [(None, "2 outputs", "one of: 'action', 'value'")],
    "argmax_keyerror": [(1, "it makes indices, which jump", "Name the logits")],
    "double_input_float_weights": [
        (0, "its inputs are of two types: 'x' is double, 'W' is float", "Export the model in one type")
    ],
    "dyn_hw": [(None, "open on other axes than the batch", "declare it")],
    "no_batch_axis": [(None, "the input has no batch axis", "if all of the input is one sample, declare it")],
    "one_sigmoid": [(None, "the shape (batch, 1)", "is a binary classifier's (task = binary)")],
    "obstacle_told_twice": [
        (None, "the batch is fixed to 2", "Export with a dynamic batch axis"),
        (0, "it reads 'c', which no node before it makes", "nodes must be in order"),
    ],
    "skl_lr_nozip": [(2, "it is of the domain 'ai.onnx.ml'", "black_op={")],
    "skl_mlp_default": [(8, "it is of the domain 'ai.onnx.ml'", 'options={"zipmap": False}')],
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_makes_what_onnxruntime_makes(name: str) -> None:
    taken, data = TAKEN[name], real(f"{name}.onnx").read_bytes()
    graph = read_onnx(data, output=taken.output, input_shape=taken.shape if taken.declared else None)
    assert (graph.input_shape, graph.num_classes) == (taken.shape, taken.classes)
    x = RANDOM.normal(size=(5, *taken.shape)).astype(np.float32)
    expected = onnxruntime_on_rows(data, x, taken.output).astype(np.float32)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < taken.gap


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_for_its_reason_and_once(name: str) -> None:
    said = refusal(real(f"{name}.onnx").read_bytes(), output=OUTPUTS.get(name)).obstacles
    assert len(said) == len(REFUSED[name]), [str(obstacle) for obstacle in said]
    for obstacle, (at, reason, remedy) in zip(said, REFUSED[name], strict=True):
        assert obstacle.node == at and reason in obstacle.reason and remedy in obstacle.remedy


@pytest.mark.parametrize("size", [-1, 0, -7])
def test_a_size_that_is_not_positive_is_open(size: int) -> None:
    """onnxruntime takes negative ones so, and of 0 nothing at all."""
    proto, truth = (onnx.load(real("batch_minus_one.onnx")) for _ in range(2))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert read_onnx(proto.SerializeToString()).digest == read_onnx(truth.SerializeToString()).digest
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = size
    assert "open on other axes" in reasons(proto.SerializeToString())


@pytest.mark.parametrize("domains", [["", ""], ["ai.onnx", ""], ["ai.onnx"], ["", "ai.onnx", "com.example"]])
def test_one_opset_may_be_named_more_than_once(domains: list[str]) -> None:
    proto = onnx.load(real("opset_twice_same.onnx"))
    digest = read_onnx(proto.SerializeToString()).digest
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, 13) for domain in domains)
    assert read_onnx(proto.SerializeToString()).digest == digest
    proto.opset_import.append(helper.make_opsetid("", 14))
    assert "the opset is 13 and 14" in reasons(proto.SerializeToString())


@pytest.mark.parametrize("version", [-(2**63), -1, 0, 2**40])
def test_an_opset_that_there_is_not(version: int) -> None:
    proto = onnx.load(real("opset_twice_same.onnx"))
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", version))
    assert f"the opset is {version}" in reasons(proto.SerializeToString())


ROWS = RANDOM.normal(size=(4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("MatMul", ["x", "v"], "p"), node("Unsqueeze", ["p", "one"], "u"), node("MatMul", ["u", "row"])],
        [node("Squeeze", ["x", "zero"], "s"), node("MatMul", ["rows", "s"], "m"), node("Unsqueeze", ["m", "zero"])],
        [node("Squeeze", ["x", "zero"], "s"), node("MatMul", ["s", "v"], "m"), node("Mul", ["m", "row"])],
    ],
    ids=["a number a sample", "matrix and vector", "two vectors"],
)
def test_products_of_vectors(nodes: list[onnx.NodeProto]) -> None:
    constants = {"v": ROWS[0], "rows": ROWS, "row": ROWS[:1], "zero": np.array([0]), "one": np.array([1])}
    data = model(nodes, (5,), constants, batch=1)
    x = RANDOM.normal(size=(6, 5)).astype(np.float32)
    expected = onnxruntime_on_rows(data, x)
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), expected) < 1e-5


INTEGERS = {
    "int8": (TensorProto.INT8, -128, 127),
    "uint8": (TensorProto.UINT8, 0, 255),
    "int4": (TensorProto.INT4, -8, 7),
    "uint4": (TensorProto.UINT4, 0, 15),
    "int16": (TensorProto.INT16, -(2**15), 2**15 - 1),
    "uint16": (TensorProto.UINT16, 0, 2**16 - 1),
}
SPREADS: dict[str, tuple[tuple[int, ...], dict[str, int]]] = {
    "per tensor": ((), {}),
    "per row": ((7,), {"axis": 0}),
    "per column": ((3,), {}),
    "blocked": ((4, 3), {"axis": -2, "block_size": 2}),
}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("raw", [True, False])
def test_stored_integers_are_the_weights_they_stand_for(kind: str, spread: str, raw: bool) -> None:
    (element, low, high), (shape, settings) = INTEGERS[kind], SPREADS[spread]
    stored = RANDOM.integers(low, high + 1, 21)
    zeros = RANDOM.integers(low, high + 1, shape).reshape(-1)
    scales = RANDOM.uniform(0.5, 2, shape).astype(np.float32)
    data = model(
        [node("DequantizeLinear", ["q", "s", "z"], "w", **settings), node("MatMul", ["x", "w"])],
        (7,),
        {"s": scales},
        opset=21,
    )
    proto = onnx.ModelProto.FromString(data)
    for name, dims, values in (("q", (7, 3), stored), ("z", shape, zeros)):
        tensor = helper.make_tensor(name, element, dims, values.tolist())
        if raw:
            packed = onnx.numpy_helper.to_array(tensor)
            tensor = onnx.numpy_helper.from_array(packed, name)
        assert tensor.HasField("raw_data") == raw
        proto.graph.initializer.append(tensor)
    x = RANDOM.normal(size=(5, 7)).astype(np.float32)
    data = proto.SerializeToString()
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


def test_stored_integers_ask_for_no_more_room_than_they_take() -> None:
    """A block of 2^40 entries of an axis of 1 is that one entry."""
    huge = node("DequantizeLinear", ["q", "s"], "w", axis=0, block_size=2**40)
    constants: dict[str, np.ndarray] = {"q": np.ones((1, 3), np.int8), "s": np.ones((1, 3), np.float32)}
    assert read_onnx(model([huge, node("MatMul", ["x", "w"])], (1,), constants, opset=21)).num_classes == 3


@pytest.mark.parametrize("element", [TensorProto.INT4, TensorProto.UINT4])
def test_packed_integers_that_do_not_fill_their_bytes_are_refused(element: int) -> None:
    tensor = helper.make_tensor("q", element, (7, 3), [1] * 21)
    tensor.int32_data.append(0)
    nodes = [node("DequantizeLinear", ["q", "s"], "w"), node("MatMul", ["x", "w"])]
    proto = onnx.ModelProto.FromString(model(nodes, (7,), {"s": np.array(1, np.float32)}, opset=21))
    proto.graph.initializer.append(tensor)
    assert "does not have the size of its shape" in reasons(proto.SerializeToString())


@pytest.mark.parametrize("target", [[0, 3, 1, 1], [0, 1, 3], [0, 1, 1, 3], [0, 1, 3, 1]])
def test_one_axis_of_classes_among_axes_of_one(target: list[int]) -> None:
    data = model(
        [node("Gemm", ["x", "w"], "g"), node("Reshape", ["g", "t"])],
        (5,),
        {"w": ROWS[:3].T.copy(), "t": np.array(target)},
    )
    x = RANDOM.normal(size=(4, 5)).astype(np.float32)
    graph = read_onnx(data)
    assert graph.num_classes == 3
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x).reshape(4, 3)) < 1e-5


def test_two_axes_of_classes_are_refused() -> None:
    data = model(
        [node("Gemm", ["x", "w"], "g"), node("Reshape", ["g", "t"])],
        (5,),
        {"w": ROWS.T.copy(), "t": np.array([0, 2, 2])},
    )
    assert "the shape (batch, 2, 2)" in reasons(data)


Operand = np.ndarray | str
NAN = np.array([0, np.nan, 2], np.float32)
YES = np.array([True, False, True])


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        (YES, NAN, "x"),
        (~YES, "x", NAN),
        (YES[None], NAN[None], "x"),
        (np.array([[True, False, True], [True, False, False]]), NAN, "t"),
        (np.array(True), "x", np.array(np.inf, np.float32)),
        (np.array([False]), np.array(np.nan, np.float32), "x"),
        (np.array(False), "nan", "x"),
    ],
)
def test_what_is_never_taken_may_be_anything(
    condition: np.ndarray, yes: np.ndarray | str, no: np.ndarray | str
) -> None:
    """``nan`` is a constant of every sample, ``t`` has two rows."""
    nodes = [
        node("Shape", ["x"], "shape"),
        node("Expand", ["one nan", "shape"], "nan"),
        node("Unsqueeze", ["x", "axis"], "t"),
        node("Where", ["c", yes if isinstance(yes, str) else "yes", no if isinstance(no, str) else "no"], "w"),
        node("Reshape", ["w", "flat"]),
    ]
    constants = {
        "c": condition,
        "one nan": np.array([np.nan], np.float32),
        "axis": np.array([1]),
        "flat": np.array([0, -1]),
    }
    constants |= {name: value for name, value in (("yes", yes), ("no", no)) if not isinstance(value, str)}
    data = model(nodes, (3,), constants)
    x = RANDOM.normal(size=(4, 3)).astype(np.float32)
    expected = reference(data, x)
    assert np.isfinite(expected).all()
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), expected) < 1e-6


@pytest.mark.parametrize("operands", [["c", "nan", "x"], ["c", "n", "x"]])
def test_what_is_taken_somewhere_must_be_finite(operands: list[str]) -> None:
    nodes = [node("Shape", ["x"], "shape"), node("Expand", ["n", "shape"], "nan"), node("Where", operands)]
    assert "infinite or not a number" in reasons(model(nodes, (3,), {"c": ~YES, "n": NAN}))


def sized(data: bytes, *sizes: int | str) -> bytes:
    """The file with an input of these sizes; of none: of any shape."""
    proto = onnx.ModelProto.FromString(data)
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes or None))
    return proto.SerializeToString()


PIXELS = real("open_pixels.onnx").read_bytes()


@pytest.mark.parametrize(
    "sizes", [(), ("b", "c", "h", "w"), (1, 3, "h", 7), (-1, 3, 9, "w"), ("b", 3, 0, -1), (3, 9, 7)]
)
def test_the_declared_shape_stands_where_the_file_leaves_it_open(sizes: tuple[int | str, ...]) -> None:
    x = RANDOM.normal(size=(4, 3, 9, 7)).astype(np.float32)
    expected = reference(PIXELS, x)
    whole = sizes == (3, 9, 7)
    if whole:  # one image, without a batch axis: as all others, with one put in front
        proto = onnx.ModelProto.FromString(PIXELS)
        proto.graph.node[0].input[0] = "image"
        proto.graph.node.insert(0, node("Unsqueeze", ["x"], "image", axes=[0]))
        proto.opset_import[0].version = 11
        data = sized(proto.SerializeToString(), *sizes)
    else:
        data = sized(PIXELS, *sizes)
    graph = read_onnx(data, input_shape=(3, 9, 7))
    assert graph.input_shape == (3, 9, 7)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < 1e-5
    with pytest.raises(UnsupportedModel):
        read_onnx(data)


@pytest.mark.parametrize("declared", [(3, 9), (4, 9, 7), (9, 7, 3, 1)])
def test_a_declared_shape_must_fit(declared: tuple[int, ...]) -> None:
    assert "takes inputs of shape (3, any, any), declared was" in reasons(PIXELS, input_shape=declared)
    whole = real("no_batch_axis.onnx").read_bytes()
    assert f"is not of the shape {list(declared)} that was declared" in reasons(whole, input_shape=declared)


def test_the_shape_of_the_file_counts_where_it_is_fixed() -> None:
    assert read_onnx(real("rgb.onnx").read_bytes(), input_shape=(8, 8, 3)).input_shape == (3, 8, 8)


def test_a_column_without_a_batch_axis() -> None:
    nodes = [node("MatMul", ["w", "x"], "m"), node("Relu", ["m"])]
    data = sized(model(nodes, (5,), {"w": ROWS}), 5, 1)
    x = RANDOM.normal(size=(6, 5, 1)).astype(np.float32)
    graph = read_onnx(data, input_shape=(5, 1))
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), onnxruntime_on_rows(data, x)) < 1e-5


FLOAT, HALVES, DOUBLE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE
KINDS: dict[int, type[np.floating[Any]]] = {FLOAT: np.float32, HALVES: np.float16, DOUBLE: np.float64}
BEHIND = {
    "Gemm": [node("Gemm", ["x", "w"])],
    "Add": [node("Relu", ["x"], "r"), node("Add", ["r", "w"], "a"), node("ReduceSum", ["a", "axis"])],
    "cast": [node("Cast", ["x"], "d", to=DOUBLE), node("Tanh", ["d"], "t"), node("MatMul", ["t", "w"])],
    "constant cast": [node("Cast", ["w"], "v", to=FLOAT), node("Gemm", ["x", "v"])],
    "cast away": [node("CastLike", ["w", "x"], "v"), node("Gemm", ["x", "v"])],
    "choice": [node("IsNaN", ["x"], "n"), node("Where", ["n", "x", "one"], "z"), node("MatMul", ["z", "w"])],
    "power": [node("Pow", ["x", "one"], "z"), node("MatMul", ["z", "w"])],
    "many": [node("Concat", ["x", "x", "row"], "z", axis=1), node("MatMul", ["z", "long"])],
}


@pytest.mark.parametrize("work", BEHIND)
@pytest.mark.parametrize("weights", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_types_must_agree_as_in_onnxruntime(work: str, kind: int, weights: int) -> None:
    """What it refuses to load for its types is refused for its types, and nothing else is."""
    floats = {"w": ROWS.T[:, :3], "one": np.ones((1, 1)), "row": ROWS[:1], "long": np.ones((15, 2))}
    constants = {name: np.ascontiguousarray(array, KINDS[weights]) for name, array in floats.items()}
    if work == "Add":
        constants["w"] = constants["row"]
    proto = onnx.ModelProto.FromString(
        model(BEHIND[work], (5,), constants | {"axis": np.array([0])}, batch=1, opset=20)
    )
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.elem_type = kind
    proto.graph.output[0].type.Clear()
    data = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        fits = True
    except Exception as error:
        assert "bound to different types" in str(error), error
        fits = False
    try:
        read_onnx(data)
        found = True
    except UnsupportedModel as refused:
        found = "of two types" not in str(refused)
    assert found == fits


@pytest.mark.parametrize(
    "settings", [{"offset": [0.5], "scale": [2.0]}, {"offset": [1.0, 2.0, 3.0], "scale": [0.1, -2.0, 1.0]}]
)
@pytest.mark.parametrize("batch", ["b", 1])
def test_a_scaler_is_affine(settings: dict[str, list[float]], batch: str | int) -> None:
    scaler = node("Scaler", ["x"], "s", domain="ai.onnx.ml", **settings)
    proto = onnx.ModelProto.FromString(model([scaler, node("Gemm", ["s", "w"])], (3,), {"w": ROWS[:3]}, batch=batch))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    data = proto.SerializeToString()
    x = RANDOM.normal(size=(5, 3)).astype(np.float32)
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), onnxruntime_on_rows(data, x)) < 1e-6
    proto.graph.node[0].attribute[0].floats.append(1.0)
    assert "one offset and scale a feature" in reasons(proto.SerializeToString())
    proto.graph.node[0].domain = ""
    assert "the operator is not supported" in reasons(proto.SerializeToString())


COLUMN = ROWS[0, :4, None]
ENDS: dict[str, list[onnx.NodeProto]] = {
    "logit": [node("MatMul", ["x", "w"])],
    "sigmoid": [node("MatMul", ["x", "w"], "m"), node("Sigmoid", ["m"])],
    "flat sigmoid": [node("MatMul", ["x", "w"], "m"), node("Sigmoid", ["m"], "s"), node("Reshape", ["s", "flat"])],
    "sigmoid of a flat one": [node("MatMul", ["x", "v"], "m"), node("Sigmoid", ["m"])],
    "batch that moves": [
        node("Transpose", ["x"], "t", perm=[1, 0]),
        node("MatMul", ["row", "t"], "m"),
        node("Transpose", ["m"], "b", perm=[1, 0]),
        node("Sigmoid", ["b"]),
    ],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("batch", ["b", 1])
def test_one_logit_or_its_sigmoid_is_a_binary_classifier(end: str, batch: str | int) -> None:
    """``(0, z)``: class 1 where z is positive, with the radius |z| / ||w||, in whatever way the file writes z."""
    constants = {"w": COLUMN, "v": COLUMN[:, 0].copy(), "row": COLUMN.T.copy(), "flat": np.array([-1])}
    data = model(ENDS[end], (4,), constants, batch=batch)
    graph = read_onnx(data, task="binary")
    x = RANDOM.normal(size=(6, 4)).astype(np.float32)
    found = to_module(graph)(torch.from_numpy(x))
    assert found.shape == (6, 2) and not found[:, 0].any()
    expected = onnxruntime_on_rows(data, x)[:, 0]
    said = found[:, 1] if end == "logit" else found[:, 1].sigmoid()
    assert relative_gap(said.numpy(), expected) < 1e-6
    assert np.array_equal(found.argmax(dim=1).numpy(), expected > (0 if end == "logit" else 0.5))
    bound = network_bound(graph)
    exact = np.abs(x @ COLUMN)[:, 0] / np.linalg.norm(COLUMN)
    margins = margin_radius(bound.logits(x), bound, norms=np.linalg.norm(x, axis=1))
    radii = np.array([margin.radius for margin in margins], float)
    assert (radii <= exact * (1 + 1e-6)).all()
    if end != "batch that moves":  # whose matrix stands on the left, with a looser bound
        assert radii == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", ["two_mul0", "rgb", "dueling"])
def test_more_than_one_output_is_no_binary_classifier(name: str) -> None:
    assert "is not one number an input" in reasons(real(f"{name}.onnx").read_bytes(), task="binary")
