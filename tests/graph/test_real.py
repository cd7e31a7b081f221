"""Small files that were once misjudged (``tests/data/real``), each standing for its kind: what must become of them."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
import torch

from radii.graph import read_onnx, to_module
from tests.acceptance import real
from tests.graph.build import relative_gap
from tests.graph.refused import refusal

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
    "maxmin_ReluDiff": Taken((16,), 4),
    "maxmin_Split": Taken((16,), 4),
    "maxmin_Where": Taken((16,), 4),
    "rgb": Taken((3, 8, 8), 2),
    "two_mul0": Taken((5,), 2),
}
# What is said of a file, an obstacle each: the node that it names, or None, and words of its reason and remedy.
REFUSED: dict[str, list[tuple[int | None, str, str]]] = {
    "actor_critic": [(None, "2 outputs", "one of: 'action', 'value'")],
    "argmax_keyerror": [(1, "it makes indices, which jump", "Name the logits")],
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
    for obstacle, (node, reason, remedy) in zip(said, REFUSED[name], strict=True):
        assert obstacle.node == node and reason in obstacle.reason and remedy in obstacle.remedy
