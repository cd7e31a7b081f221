"""The canonical form: round trips, its digest, and what strangers may write into it."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from radii.graph import (
    Limits,
    UnsupportedModel,
    from_canonical,
    ir,
    methods,
    normalized,
    read_onnx,
    to_canonical,
    to_module,
)
from radii.graph.weights import write_safetensors
from tests.graph.build import model, node
from tests.graph.canonical import SCHEMA, check_form, check_names, edited
from tests.graph.case import Case
from tests.graph.cases import GOOD
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained
from tests.graph.schema import conforms

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
RNG = np.random.default_rng(4)


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_every_operator_comes_back(case: Case) -> None:
    data = case.data()
    graph = read_onnx(data)
    check_form(graph)
    check_names(data, graph)


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_back(name: str, dynamo: bool) -> None:
    shape = NETWORKS[name][1]
    graph = read_onnx(export(trained(name), shape, dynamo=dynamo, opset=18, dynamic=True))
    check_form(graph)
    check_form(normalized(graph, 0.5, [0.25] * shape[0]))


def test_the_order_of_independent_nodes_does_not_count() -> None:
    nodes = [node("Relu", ["x"], "a"), node("Tanh", ["x"], "b"), node("Sub", ["a", "b"])]
    first, second = (read_onnx(model([nodes[i], nodes[1 - i], nodes[2]], (6,))) for i in (0, 1))
    assert first.digest == second.digest
    assert to_canonical(first) == to_canonical(second)


def test_what_does_not_fit_the_schema_is_refused() -> None:
    document, weights = canonical()
    assert conforms(document, SCHEMA, SCHEMA)
    first = document["nodes"][0]
    assert first["operator"] == "Conv"
    changes: list[dict[str, Any]] = [
        *({"operator": "Evaluate"}, {"inputs": [0, 0]}, {"inputs": []}, {"more": 1}, {"arrays": {}}),
        {"arrays": first["arrays"] | {"weight": ["f2", [1], "0" * 64]}},
        {"attributes": first["attributes"] | {"groups": 1.5}},
        {"attributes": first["attributes"] | {"windows": {}}},
    ]
    nodes = [{"nodes": [first | change, *document["nodes"][1:]]} for change in changes]
    wrongs: list[dict[str, Any]] = [{"format": 2}, {"input_shape": [0]}, {"more": 1}, {"output": -1}, {"nodes": [{}]}]
    for wrong in [*wrongs, *nodes]:
        assert not conforms(document | wrong, SCHEMA, SCHEMA)
        refused(document | wrong, weights)


def canonical() -> tuple[dict[str, Any], bytes]:
    form, weights = to_canonical(read_onnx((DIGITS / "digits.onnx").read_bytes()))
    return json.loads(form), weights


def refused(document: Any, weights: bytes, **options: Any) -> UnsupportedModel:
    form = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(UnsupportedModel) as caught:
        from_canonical(form, weights, **options)
    assert all(obstacle.reason and obstacle.remedy for obstacle in caught.value.obstacles)
    return caught.value


def test_layout_of_the_json_is_free_and_its_content_is_not() -> None:
    document, weights = canonical()
    graph = from_canonical(json.dumps(document, indent=2).encode(), weights)
    assert graph.digest == hashlib.sha256(to_canonical(graph)[0]).hexdigest()
    for text in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 10**5, b'{"format": NaN}', b"9" * 5000):
        refused(text, weights)
    twice = json.dumps(document).encode().replace(b'{"format"', b'{"format": 1, "format"')
    assert "not JSON" in str(refused(twice, weights))
    for key, value in (
        ("format", 2),
        ("format", True),
        ("input_shape", []),
        ("input_shape", [1, 8, 0]),
        ("input_shape", [2**40, 2**40]),
        ("output", 99),
        ("output", -1),
        ("output", 1.0),
        ("nodes", {}),
        ("more", 1),
    ):
        refused(document | {key: value}, weights)
    refused({key: value for key, value in document.items() if key != "output"}, weights)


def test_all_obstacles_are_listed() -> None:
    document, weights = canonical()
    document["nodes"][0]["operator"] = "Evaluate"
    document["nodes"][2] = {"operator": "Relu"}
    document["nodes"].append({"operator": "Relu", "attributes": {"x": 1}, "arrays": {}, "inputs": [0]})
    document["nodes"].append({"operator": "Relu", "attributes": {}, "arrays": {}, "inputs": [11]})
    found = refused(document, weights).obstacles
    assert [obstacle.node for obstacle in found] == [0, 2, 8, 9]
    assert found[0].operator == "Evaluate"


def test_the_two_files_belong_together() -> None:
    document, weights = canonical()
    other = write_safetensors({name: array + 1 for name, array in safetensors.numpy.load(weights).items()})
    assert "not the one that graph.json was written with" in str(refused(document, other))
    fewer = dict(list(safetensors.numpy.load(weights).items())[1:])
    assert "is missing in weights.safetensors" in str(refused(document, write_safetensors(fewer)))
    more = safetensors.numpy.load(weights) | {"extra": np.zeros(1, np.float32)}
    assert "no node has: 'extra'" in str(refused(document, write_safetensors(more)))


def test_limits() -> None:
    document, weights = canonical()
    peak = from_canonical(json.dumps(document).encode(), weights).peak_elements()
    assert "entries at once" in str(refused(document, weights, limits=Limits(activation_elements=peak - 1)))
    assert "at most 3" in str(refused(document, weights, limits=Limits(nodes=3)))
    assert "have over 100 elements" in str(refused(document, weights, limits=Limits(total_elements=100)))
    assert "over the limit" in str(refused(document, weights, limits=Limits(tensor_elements=100)))


def test_dead_nodes_and_outputs_that_are_no_logits() -> None:
    document, weights = canonical()
    dead = {"operator": "Relu", "attributes": {}, "arrays": {}, "inputs": [1]}
    assert "does not need every node" in str(refused(document | {"nodes": [*document["nodes"], dead]}, weights))
    image = document | {"nodes": [dead | {"inputs": [0]}], "output": 1}
    assert "logits" in str(refused(image, write_safetensors({})))


def test_mutated_forms_are_answered_or_refused() -> None:
    """Bytes of either file changed at random; the arrays' hashes are made to fit, or nothing would get past them."""
    rng = random.Random(0)
    document, weights = canonical()
    form, answered = json.dumps(document).encode(), 0
    for _ in range(1500):
        changed = [bytearray(form), bytearray(weights)]
        which = rng.randrange(2)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed[which]) if not which else 400)
            if rng.random() < 0.7:
                changed[which][at] = rng.choice(b'0123456789-.,:[]{}"etrufalsn\0\xff')
            else:
                del changed[which][at : at + rng.randint(1, 8)]
        try:
            from_canonical(bytes(changed[0]), bytes(changed[1]))
            answered += 1
        except UnsupportedModel:
            pass
    assert answered < 1500


def test_edited_networks_are_answered_or_refused() -> None:
    """One value anywhere in a graph.json is another; what is still read runs, and makes the logits that it says."""
    rng = random.Random(5)
    written = [to_canonical(read_onnx(case.data())) for case in rng.sample(GOOD, 80)]
    forms = [(json.loads(form), weights) for form, weights in written]
    answered = 0
    for _ in range(3000):
        document, weights = rng.choice(forms)
        try:
            text = json.dumps(edited(document, rng)).encode()
            graph = from_canonical(text, weights, limits=Limits(activation_elements=50_000))
        except UnsupportedModel:
            continue
        answered += 1
        methods(graph)
        x = torch.rand(2, *graph.input_shape, generator=torch.Generator().manual_seed(1))
        assert to_module(graph)(x).shape == (2, graph.num_classes)
    assert answered > 100


def test_the_digest_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input of a certification asks for it; of a large network it takes a third of a second."""
    graph, hashed, real = read_onnx((DIGITS / "digits.onnx").read_bytes()), list[np.ndarray](), ir.array_digest

    def counted(array: np.ndarray) -> list[Any]:
        hashed.append(array)
        return real(array)

    monkeypatch.setattr(ir, "array_digest", counted)
    assert graph.digest == graph.digest == hashlib.sha256(graph.canonical()).hexdigest()
    assert len(hashed) == 2 * sum(len(node.operator.arrays()) for node in graph.nodes) > 0
