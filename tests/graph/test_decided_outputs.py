"""Files with several outputs, and with what has nothing to do with the logits."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from radii.graph import UnsupportedModel, read_onnx, to_canonical, to_module
from tests.graph.build import relative_gap
from tests.graph.export import export


def scikit_learn() -> bytes:
    """An MLPClassifier as skl2onnx writes it: labels by ``ai.onnx.ml``, ``probabilities`` by plain operators."""
    rng = np.random.default_rng(0)
    weights = {
        "coefficient": rng.normal(size=(4, 8)), "intercepts": rng.normal(size=(1, 8)),
        "coefficient1": rng.normal(size=(8, 3)), "intercepts1": rng.normal(size=(1, 3)),
    }  # fmt: skip
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([0, 1, 2]), "classes"))
    nodes = [
        helper.make_node("Cast", ["X"], ["cast_input"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["cast_input", "coefficient"], ["mul_result"]),
        helper.make_node("Add", ["mul_result", "intercepts"], ["add_result"]),
        helper.make_node("Relu", ["add_result"], ["next_activations"]),
        helper.make_node("MatMul", ["next_activations", "coefficient1"], ["mul_result1"]),
        helper.make_node("Add", ["mul_result1", "intercepts1"], ["add_result1"]),
        helper.make_node("Softmax", ["add_result1"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["argmax_output"], axis=1),
        helper.make_node(
            "ArrayFeatureExtractor", ["classes", "argmax_output"], ["extractor_result"], domain="ai.onnx.ml"
        ),
        helper.make_node("Cast", ["extractor_result"], ["label"], to=TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
        constants,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def test_scikit_learn_through_its_probabilities() -> None:
    data = scikit_learn()
    graph = read_onnx(data, output="probabilities")
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.ModelProto.FromString(data).graph.initializer}
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    hidden = np.maximum(x @ constants["coefficient"] + constants["intercepts"], 0)
    powers = np.exp(hidden @ constants["coefficient1"] + constants["intercepts1"])
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), expected) < 1e-5


NAMED = r"has 2 outputs\. Name the one to take as output, one of: 'probabilities'\."  # labels are no logits


@pytest.mark.parametrize(("output", "reason"), [(None, NAMED), ("label", "it makes indices")])
def test_its_labels_and_no_name_at_all_are_refused(output: str | None, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        read_onnx(scikit_learn(), output=output)


def test_nothing_of_the_machine_that_exported_stays_in_the_graph() -> None:
    """dynamo writes stack traces into its files, with the paths of their owner."""
    data = export(torch.nn.Sequential(torch.nn.Linear(4, 3)).eval(), (4,), dynamo=True, opset=18, dynamic=True)
    path = torch.nn.__file__.rsplit("/", 1)[0].encode()
    assert path in data
    assert b"stack_trace" in data
    for part in to_canonical(read_onnx(data)):
        assert path not in part
        assert b"stack_trace" not in part
