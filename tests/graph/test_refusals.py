"""Files that are no model, or not one of ours: refused with every reason at once, and never by another exception."""

import pickle
import random
import zlib

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import OPERATORS, Limits, UnsupportedModel, read_onnx, to_module
from radii.graph.folding import FOLDS
from tests.graph.build import model, node, reference, relative_gap

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


def refusal(data: bytes, **options: object) -> UnsupportedModel:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(data, **options)  # type: ignore[arg-type]
    assert all(obstacle.reason and obstacle.remedy for obstacle in caught.value.obstacles)
    return caught.value


def reasons(data: bytes, **options: object) -> str:
    return str(refusal(data, **options))


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
        node("QuantizeLinear", ["x", "w"], "g"),
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
        (6, "QuantizeLinear"),
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
    def edited(**changes: object) -> bytes:
        proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
        tensor = proto.graph.input[0].type.tensor_type
        if "element" in changes:
            tensor.elem_type = changes["element"]
        if "dims" in changes:
            del tensor.shape.dim[:]
            for size in changes["dims"]:  # type: ignore[attr-defined]
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


def test_outputs() -> None:
    constants = {"w": WEIGHT, "one": WEIGHT[:, :1]}
    assert "at least two classes" in reasons(model([node("Gemm", ["x", "one"])], (6,), constants))
    assert "at least two classes" in reasons(model([node("Relu", ["x"])], (2, 3), constants))
    assert "does not depend" in reasons(model([node("Relu", ["x"], "r"), node("Neg", ["w"])], (6,), constants))
    assert "made by no node" in reasons(model([GEMM], (6,), constants, output="other"))
    proto = onnx.ModelProto.FromString(model([GEMM, node("Softmax", ["y"], "p")], (6,), constants))
    proto.graph.output.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, None))
    data = proto.SerializeToString()
    assert "one of: 'y', 'p'" in reasons(data)
    assert "no output 'z'" in reasons(data, output="z")
    assert [node.operator.name for node in read_onnx(data, output="y").nodes] == ["Gemm"]
    assert [node.operator.name for node in read_onnx(data, output="p").nodes] == ["Gemm", "Softmax"]


@pytest.mark.parametrize("opset", [7, 24])
def test_opsets_outside_the_range(opset: int) -> None:
    assert f"the opset is {opset}" in reasons(model([GEMM], (6,), {"w": WEIGHT}, opset=opset))


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


def external(name: str = "f.onnx.data", offset: str | None = "64", length: str | None = "72") -> bytes:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return proto.SerializeToString()


def test_weights_beside_the_file() -> None:
    content = b"\0" * 64 + WEIGHT.tobytes()
    inside = read_onnx(model([GEMM], (6,), {"w": WEIGHT}))
    assert read_onnx(external(), external_data={"f.onnx.data": content}).digest == inside.digest
    assert read_onnx(external(length=None), external_data={"f.onnx.data": content}).digest == inside.digest
    missing = reasons(external())
    assert "'f.onnx.data', which is not here" in missing
    assert "external_data=False" in missing
    for options in ({"offset": "65"}, {"length": "71"}, {"length": "73"}, {"offset": str(2**63)}):
        assert "outside the file" in reasons(external(**options), external_data={"f.onnx.data": content})  # type: ignore[arg-type]
    for offset in ("-8", "1e1", "", "²"):
        assert "as a number" in reasons(external(offset=offset), external_data={"f.onnx.data": content})


def test_a_constant_node_may_lie_elsewhere_too() -> None:
    value = numpy_helper.from_array(WEIGHT)
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="big.bin")
    data = model([node("Constant", [], "w", value=value), GEMM], (6,))
    assert "weights of 1 tensors lie in the file 'big.bin'" in reasons(data)
    assert read_onnx(data, external_data={"big.bin": WEIGHT.tobytes()}).num_classes == 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "f.onnx.data\0", "./f.onnx.data"])
def test_a_name_that_does_not_match_is_only_a_name(name: str) -> None:
    assert "is not here" in reasons(external(name), external_data={"f.onnx.data": b"\0" * 200})


def test_other_weights_than_float32() -> None:
    """Two-byte weights are widened exactly, doubles are kept; integers of a quantised model are refused."""
    half = model([GEMM], (6,), {"w": WEIGHT.astype(np.float16)})
    (read,) = read_onnx(half).nodes
    assert np.array_equal(read.operator.arrays()["weight"], WEIGHT.astype(np.float16).astype(np.float64).T)
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    for raw in (True, False):
        bits = WEIGHT.view(np.uint32) >> 16
        tensor = onnx.TensorProto(name="w", data_type=TensorProto.BFLOAT16, dims=[6, 3])
        if raw:
            tensor.raw_data = bits.astype("<u2").tobytes()
        else:
            tensor.int32_data.extend(bits.reshape(-1).tolist())
        proto.graph.initializer[0].CopyFrom(tensor)
        (read,) = read_onnx(proto.SerializeToString()).nodes
        assert np.array_equal(read.operator.arrays()["weight"], (bits << 16).view(np.float32).T)
    (read,) = read_onnx(model([GEMM], (6,), {"w": WEIGHT.astype(np.float64)})).nodes
    assert read.operator.arrays()["weight"].dtype == np.float64
    quantised = node("ConvInteger", ["x", "w"])
    assert "quantised" in reasons(model([quantised], (6,), {"w": WEIGHT.astype(np.int8)}))


def test_a_float16_model_runs_in_float32() -> None:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT.astype(np.float16)}))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    data = proto.SerializeToString()
    x = np.random.default_rng(4).normal(size=(3, 6)).astype(np.float16)
    found = to_module(read_onnx(data))(torch.from_numpy(x.astype(np.float32))).numpy()
    assert relative_gap(found, reference(data, x).astype(np.float32)) < 2e-3  # the rounding of float16, at most


def test_sparse_and_segmented_weights() -> None:
    proto = onnx.ModelProto.FromString(model([GEMM], (6,), {"w": WEIGHT}))
    proto.graph.initializer[0].segment.begin = 0
    assert "segments" in reasons(proto.SerializeToString())
    del proto.graph.initializer[0]
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [6, 3]))
    assert "'w'" in reasons(proto.SerializeToString())


def test_names_are_escaped_in_what_people_read() -> None:
    name = "__import__('os').system('x')\n\x1b[31m" + "a" * 500
    text = reasons(model([node("Gemm", ["x", name])], (6,)))
    assert "\x1b" not in text
    assert "a" * 100 not in text


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four random edits: a byte, a run deleted, repeated or replaced, the end cut off."""
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(bytes_)), rng.randint(1, 8)
        edit = rng.randrange(6)
        if edit <= 2:
            bytes_[at] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
        elif edit == 3:
            del bytes_[at : at + length]
        elif edit == 4:
            bytes_[at:at] = bytes_[at : at + length]
        else:
            bytes_[at : at + length] = rng.randbytes(length)
        if not bytes_:
            break
    return bytes(bytes_[: rng.randrange(len(bytes_) + 1)] if rng.random() < 0.05 else bytes_)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_answered_or_refused(seed: int) -> None:
    rng, data = random.Random(seed), small()
    read = 0
    for _ in range(1000):
        try:
            graph = read_onnx(mutated(data, rng), external_data={"": data})
        except UnsupportedModel as refused:
            assert refused.obstacles
            assert str(refused)
        else:
            read += 1
            assert graph.num_classes >= 2
            assert len(graph.digest) == 64
            for made in graph.nodes:
                made.operator.lipschitz(*graph.input_shapes(made))
    assert 20 < read < 980  # both happen: most edits fall into weights and names


def contradicted(data: bytes, rng: random.Random) -> bytes:
    """One to three edits that keep the file well formed: numbers, names, operators and shapes that do not fit."""
    proto = onnx.ModelProto.FromString(data)
    graph = proto.graph
    numbers = (-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**40, 2**63 - 1)
    for _ in range(rng.randint(1, 3)):
        chosen = rng.choice(graph.node)
        tensor = rng.choice(graph.initializer)
        edit = rng.randrange(7)
        if edit == 0:
            chosen.op_type = rng.choice([*OPERATORS, *FOLDS])
        elif edit == 1 and chosen.input:
            names = [value.name for value in graph.initializer] + [out for other in graph.node for out in other.output]
            chosen.input[rng.randrange(len(chosen.input))] = rng.choice(["x", "", *names])
        elif edit == 2 and chosen.input:
            del chosen.input[rng.randrange(len(chosen.input)) :]
        elif edit == 3:
            kinds = (OPERATORS[chosen.op_type].attributes if chosen.op_type in OPERATORS else {}) or {"axis": "int"}
            name = rng.choice(list(kinds))
            value = rng.choice([rng.choice(numbers), rng.choices(numbers, k=rng.randint(1, 5)), 0.5, b"SAME_UPPER"])
            kept = [entry for entry in chosen.attribute if entry.name != name]
            del chosen.attribute[:]
            chosen.attribute.extend([*kept, helper.make_attribute(name, value)])
        elif edit == 4:
            tensor.dims[:] = rng.choices(numbers, k=rng.randint(0, 4))
        elif edit == 5:
            kind = rng.choice((np.float32, np.int64, np.float64, bool, np.int32))
            shape = rng.choices((0, 1, 2, 3, 4, 16), k=rng.randint(0, 4))
            values = np.random.default_rng(rng.randrange(2**32)).integers(-3, 4, shape).astype(kind)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        else:
            dim = rng.choice(graph.input[0].type.tensor_type.shape.dim)
            dim.dim_value = rng.choice(numbers)
    return proto.SerializeToString()


@pytest.mark.parametrize("seed", range(2))
def test_contradictory_files_are_answered_or_refused(seed: int) -> None:
    rng, data = random.Random(seed), small()
    limits = Limits(tensor_elements=2**20, total_elements=2**22, activation_elements=2**18)
    read = 0
    for _ in range(1000):
        try:
            graph = read_onnx(contradicted(data, rng), limits=limits)
        except UnsupportedModel as refused:
            assert refused.obstacles
        else:
            read += 1
            logits = to_module(graph)(torch.ones(2, *graph.input_shape))
            assert logits.shape == (2, graph.num_classes)
            for made in graph.nodes:
                made.operator.lipschitz(*graph.input_shapes(made))
    assert read > 5
