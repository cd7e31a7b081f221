"""Small files that were once misjudged (``tests/data/real``), each standing for its kind: what must become of them."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from radii.graph import read_onnx, to_module
from tests.acceptance import real
from tests.graph.build import model, node, relative_gap
from tests.graph.refused import reasons, refusal

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
RANDOM = np.random.default_rng(5)


@dataclass(frozen=True)
class Taken:
    """What a file is read as."""

    shape: tuple[int, ...]
    classes: int
    output: str | None = None
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
    "einsum_dense": Taken((4, 64), 3),
    "end_sigmoid": Taken((5,), 4),
    "end_softmax": Taken((5,), 4),
    "f16k": Taken((6,), 3, gap=HALF),
    "f16s": Taken((6,), 3, gap=HALF),
    "lip1_center_relu": Taken((16,), 4),
    "lip1_minmax": Taken((16,), 4),
    "matmul_vector": Taken((5, 4), 5),
    "maxmin_ReluDiff": Taken((16,), 4),
    "maxmin_Split": Taken((16,), 4),
    "maxmin_Where": Taken((16,), 4),
    "opset_twice_same": Taken((4,), 3),
    "rgb": Taken((3, 8, 8), 2),
    "two_mul0": Taken((5,), 2),
}
# What is said of a file, an obstacle each: the node that it names, or None, and words of its reason and remedy.
REFUSED: dict[str, list[tuple[int | None, str, str]]] = {
    "actor_critic": [(None, "2 outputs", "one of: 'action', 'value'")],
    "argmax_keyerror": [(1, "it makes indices, which jump", "Name the logits")],
    "obstacle_told_twice": [
        (None, "the batch is fixed to 2", "Export with a dynamic batch axis"),
        (0, "it reads 'c', which no node before it makes", "nodes must be in order"),
    ],
}


def onnxruntime_on_rows(data: bytes, x: np.ndarray, output: str | None) -> np.ndarray:
    """Its outputs (rows, -1), of one input at a time, nothing optimised."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    rows = x.astype(TYPES[source.type])[:, None]
    outputs = [output or session.get_outputs()[0].name]
    return np.stack([session.run(outputs, {source.name: row})[0].reshape(-1) for row in rows])


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_makes_what_onnxruntime_makes(name: str) -> None:
    taken, data = TAKEN[name], real(f"{name}.onnx").read_bytes()
    graph = read_onnx(data, output=taken.output)
    assert (graph.input_shape, graph.num_classes) == (taken.shape, taken.classes)
    x = RANDOM.normal(size=(5, *taken.shape)).astype(np.float32)
    expected = onnxruntime_on_rows(data, x, taken.output).astype(np.float32)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < taken.gap


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_for_its_reason_and_once(name: str) -> None:
    said = refusal(real(f"{name}.onnx").read_bytes()).obstacles
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
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, 13) for domain in domains)
    assert read_onnx(proto.SerializeToString()).digest == digest
    proto.opset_import.append(onnx.helper.make_opsetid("", 14))
    assert "the opset is 13 and 14" in reasons(proto.SerializeToString())


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
    expected = onnxruntime_on_rows(data, x, None)
    assert relative_gap(to_module(read_onnx(data))(torch.from_numpy(x)).numpy(), expected) < 1e-5
