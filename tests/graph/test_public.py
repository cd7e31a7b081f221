"""Public networks, where they lie beside the checkout: what becomes of each, and distances that no radius may reach."""

import re
from typing import Any, get_args

import numpy as np
import pytest
import torch

from radii.graph import Graph, Task, UnsupportedModel, methods, read_onnx, to_module
from radii.lipschitz import margin_radius, network_bound
from tests import acceptance
from tests.graph.build import onnxruntime_on_rows, relative_gap
from tests.graph.zoo.table import PAGE

FILES = acceptance.public()
DECLARED = {"eran-acasxu-1-2-no-batch": (5,), "rapidocr-cls": (3, 48, 192)}  # shapes that the files leave open
REFUSED = [name for name, entry in FILES.items() if entry["expected"] == "refused" and name not in DECLARED]
ACCEPTED = [name for name, entry in FILES.items() if entry["expected"] != "refused"]
BOUNDED = [name for name in ACCEPTED if FILES[name]["lipschitz"] == "bounded"]


def content(name: str) -> bytes:
    return (acceptance.SHARED / "public" / f"{name}.onnx").read_bytes()


def task_of(name: str) -> Task:
    (task,) = (task for task in get_args(Task) if FILES[name]["expected"] == f"accepted as {task}")
    return task


def network(name: str) -> Graph:
    return read_onnx(content(name), task=task_of(name))


def inputs(entry: dict[str, Any]) -> np.ndarray:
    """The two inputs of the manifest."""
    return np.random.default_rng(7).random((2, *entry["input_shape"])).astype(np.float32)


def blocked(graph: Graph) -> set[str]:
    """The operators that stand against a Lipschitz bound."""
    (lipschitz,) = (method for method in methods(graph) if method["kind"] == "lipschitz")
    assert lipschitz["applies"] == (not lipschitz["reasons"])
    return {reason["operator"] for reason in lipschitz["reasons"]}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted_makes_the_outputs_of_onnxruntime(name: str) -> None:
    entry, graph = FILES[name], network(name)
    assert graph.input_shape == tuple(entry["input_shape"]) and graph.num_classes == entry["outputs"]
    x = inputs(entry)
    found = to_module(graph)(torch.from_numpy(x)).numpy()
    assert relative_gap(found, onnxruntime_on_rows(content(name), x)) < 1e-5
    expected = np.array(entry["onnxruntime"]["outputs"]).reshape(2, -1)  # the first ten of them
    assert relative_gap(found[:, :10], expected) < 1e-5
    if task_of(name) == "classifier":
        assert blocked(graph) == set(entry.get("lipschitz_blocked_by", []))
    else:
        with pytest.raises(UnsupportedModel) as refused:
            read_onnx(content(name))
        assert [obstacle.reason for obstacle in refused.value.obstacles] == entry["as_classifier"]


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_no_looser_than_they_were_and_radii_reach_no_adversary(name: str) -> None:
    entry, graph = FILES[name], network(name)
    bound = network_bound(graph, task=task_of(name))
    assert bound.upper <= entry["lipschitz_upper_at_most"] * (1 + 1e-6)
    if entry.get("must_hold"):
        x = inputs(entry)
        found = margin_radius(bound.logits(x), bound, norms=np.linalg.norm(x.reshape(2, -1), axis=1))
        for margin, row in zip(found, entry["must_hold"]["rows"], strict=True):
            assert margin.prediction == row["prediction"]
            assert margin.radius is not None and margin.radius > 0
            assert row["adversarial_at_l2"] is None or margin.radius < row["adversarial_at_l2"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_for_its_reasons(name: str) -> None:
    with pytest.raises(UnsupportedModel) as refused:
        read_onnx(content(name))
    said = {(obstacle.node, obstacle.operator, obstacle.reason) for obstacle in refused.value.obstacles}
    assert said == {(reason["node"], reason["operator"], reason["reason"]) for reason in FILES[name]["reasons"]}


def families() -> dict[str, str]:
    """The methods that docs/networks.md names for a file."""
    table = PAGE.read_text().partition("## Public benchmarks")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([\w, ]+) \| [^|]*\| ([^|]+) \|$", table, re.MULTILINE)
    return {name: verdict for verdict, names in rows for name in re.findall(r"`([^`]+)`", names)}


@pytest.mark.skipif(not FILES, reason="the public networks do not lie beside the checkout")
def test_the_page_has_a_family_for_every_file_and_says_what_applies() -> None:
    verdicts = dict.fromkeys(REFUSED, "refused")
    for name in ACCEPTED:
        graph = network(name)
        applies = [method["kind"] for method in methods(graph, task_of(name)) if method["applies"]]
        verdicts[name] = ", ".join(applies)
    verdicts |= {"nn4sys-bloom-filter": "smoothing, lipschitz"}  # on request: see below
    verdicts |= {"eran-acasxu-1-2-no-batch": "smoothing, lipschitz", "rapidocr-cls": "smoothing"}  # with their shape
    assert families() == verdicts


@pytest.mark.skipif(not FILES, reason="the public networks do not lie beside the checkout")
def test_one_sigmoid_is_a_classifier_of_two_classes_on_request() -> None:
    name = "nn4sys-bloom-filter"
    graph = read_onnx(content(name), task="binary")
    found = to_module(graph)(torch.from_numpy(inputs(FILES[name])))
    assert graph.num_classes == 2 and not found[:, 0].any()
    expected = np.array(FILES[name]["onnxruntime"]["outputs"]).reshape(2)
    assert relative_gap(found[:, 1].sigmoid().numpy(), expected) < 1e-5
    assert blocked(graph) == set()


@pytest.mark.parametrize("name", [name for name in FILES if name in DECLARED])
def test_what_leaves_its_shape_open_is_accepted_with_one(name: str) -> None:
    shape = DECLARED[name]
    graph = read_onnx(content(name), input_shape=shape)
    x = np.random.default_rng(7).random((2, *shape)).astype(np.float32)
    found = to_module(graph)(torch.from_numpy(x)).numpy()
    assert relative_gap(found, onnxruntime_on_rows(content(name), x)) < 1e-5
    assert blocked(graph) == ({"Mul"} if name == "rapidocr-cls" else set())
    with pytest.raises(UnsupportedModel, match="declare it"):
        read_onnx(content(name))
