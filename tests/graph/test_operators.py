"""Beside the spaces (test_properties.py): refusals one by one, what no operator may take, a pool's constant."""

from typing import Any

import onnx
import pytest
import torch
from onnx import helper

from radii.graph import OPERATORS, UnsupportedModel, read_onnx, rules, to_module
from tests.graph.case import Case
from tests.graph.cases import BAD
from tests.graph.space import corpus


@pytest.mark.parametrize(
    ("attributes", "upper"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, 1.0),
        ({"kernel_shape": [3, 3], "strides": [2, 2]}, 2.0),
        ({"kernel_shape": [3, 3], "strides": [1, 1]}, 3.0),
    ],
)
def test_max_pool_constant_is_attained(attributes: dict[str, list[int]], upper: float) -> None:
    """One bright pixel that every window over it shows."""
    case = Case("MaxPool", attributes, shape=(1, 9, 9))
    graph = read_onnx(case.data())
    node = graph.nodes[0]
    assert node.operator.lipschitz((1, 9, 9)) == rules.Slope(upper)
    peak = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    peak[0, 0, 4, 4] = 1
    assert float(to_module(graph, dtype=torch.float64)(peak).norm()) == upper


@pytest.mark.parametrize("case", BAD, ids=str)
def test_refuses_what_it_can_not_honour(case: Case) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        read_onnx(case.data())
    obstacle = caught.value.obstacles[0]
    assert obstacle.operator == case.operator
    assert obstacle.node is not None
    assert len(obstacle.reason) > 10
    assert len(obstacle.remedy) > 10


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_refuses_attributes_it_does_not_know(name: str) -> None:
    case = next(case for case in corpus() if case.operator == name)
    kinds = OPERATORS[name].attributes
    wrong: list[tuple[str, Any]] = [(attribute, [b"one", b"two"]) for attribute in [*kinds, "a_new_one"]]
    wrong += [(attribute, value) for attribute, kind in kinds.items() if kind == "flag" for value in (2, -1)]
    for attribute, value in wrong:
        model = onnx.ModelProto.FromString(case.data())
        (node,) = (node for node in model.graph.node if "z" in node.output)
        kept = [entry for entry in node.attribute if entry.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(attribute, value)])
        with pytest.raises(UnsupportedModel, match="attribute"):
            read_onnx(model.SerializeToString())


@pytest.mark.parametrize("name", sorted(name for name, cls in OPERATORS.items() if cls.most_inputs < 100))
def test_refuses_inputs_it_does_not_know(name: str) -> None:
    case = next(case for case in corpus() if case.operator == name)
    model = onnx.ModelProto.FromString(case.data())
    (node,) = (node for node in model.graph.node if "z" in node.output)
    node.input.extend(["x"] * (OPERATORS[name].most_inputs + 1 - len(node.input)))
    with pytest.raises(UnsupportedModel, match="inputs, and takes at most"):
        read_onnx(model.SerializeToString())
