"""Operators of classical machine learning (`ai.onnx.ml`) that are read: onnxruntime makes the same of them."""

import re
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from radii.graph import read_onnx, to_module
from radii.lipschitz import network_bound
from tests.graph.build import model, node, onnxruntime_on_rows, relative_gap
from tests.graph.refused import reasons

RANDOM = np.random.default_rng(4)
COEFFICIENTS = RANDOM.normal(size=(3, 5)).astype(np.float32)
GIVEN: dict[str, Any] = {"coefficients": COEFFICIENTS.ravel().tolist(), "intercepts": [0.5, -1.0, 0.25]}
LABELS: dict[str, Any] = {"classlabels_ints": [7, 8, 9]}


def classical(nodes: list[onnx.NodeProto], batch: str | int = "b", **constants: np.ndarray) -> bytes:
    proto = onnx.ModelProto.FromString(model(nodes, (5,), constants, batch=batch))
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return proto.SerializeToString()


def classifier(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("LinearClassifier", ["x"], ["label", "y"], domain="ai.onnx.ml", **attributes)


def agree(data: bytes) -> None:
    x = RANDOM.normal(size=(6, 5)).astype(np.float32)
    found = to_module(read_onnx(data))(torch.from_numpy(x)).numpy()
    assert relative_gap(found, onnxruntime_on_rows(data, x)) < 1e-6


@pytest.mark.parametrize("batch", ["b", 1])
@pytest.mark.parametrize("end", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("labels", [LABELS, {"classlabels_strings": ["a", "b", "c"]}])
def test_scores_of_a_linear_classifier(labels: dict[str, Any], end: str, batch: str | int) -> None:
    """And the bound is that of the scores, whatever end keeps their order."""
    data = classical([classifier(**GIVEN, **labels, post_transform=end, multi_class=1)], batch)
    agree(data)
    exact = np.linalg.norm(COEFFICIENTS.astype(np.float64), 2)
    assert exact <= network_bound(read_onnx(data)).upper <= exact * (1 + 1e-6)


@pytest.mark.parametrize("batch", ["b", 1])
def test_a_linear_regressor_and_picked_features(batch: str | int) -> None:
    regressor = node("LinearRegressor", ["p"], domain="ai.onnx.ml", targets=3, **GIVEN)
    picked = node("ArrayFeatureExtractor", ["x", "which"], "p", domain="ai.onnx.ml")
    agree(classical([picked, regressor], batch, which=np.array([4, 0, 0, 2, 1])))


REFUSED = {
    "probit": ([classifier(**GIVEN, **LABELS, post_transform="PROBIT")], "post_transform is none of"),
    "one row": (
        [classifier(coefficients=[1.0] * 5, intercepts=[0.0], classlabels_ints=[0, 1])],
        "one row of coefficients a class.*black_op",
    ),
    "too few": (
        [classifier(**{**GIVEN, "coefficients": [1.0] * 14}, **LABELS)],
        "not one coefficient a feature and row",
    ),
    "no targets": ([node("LinearRegressor", ["x"], domain="ai.onnx.ml", targets=0, **GIVEN)], "more than multiply"),
    "not whole": ([node("ArrayFeatureExtractor", ["x", "half"], domain="ai.onnx.ml")], "no constant entries"),
    "outside": ([node("ArrayFeatureExtractor", ["x", "far"], domain="ai.onnx.ml")], "outside an axis"),
    "labels": (
        [
            helper.make_node("LinearClassifier", ["x"], ["label", "s"], domain="ai.onnx.ml", **GIVEN, **LABELS),
            node("Cast", ["label"], "z", to=onnx.TensorProto.FLOAT),
            node("Add", ["s", "z"]),
        ],
        "an output other than its second",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_for_its_reason(case: str) -> None:
    nodes, words = REFUSED[case]
    data = classical(nodes, half=np.array([0.5], np.float32), far=np.array([5]))
    assert re.search(words, reasons(data)), reasons(data)
