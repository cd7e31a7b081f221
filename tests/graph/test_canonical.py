"""The canonical form: round trips, its digest, and what strangers may write into it."""

import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radii.graph import Graph, Limits, UnsupportedModel, from_canonical, normalized, read_onnx, to_canonical, to_module
from radii.graph.admission import RULES
from radii.graph.errors import Refusal
from radii.graph.weights import read_safetensors, write_safetensors
from tests.graph.build import model, node
from tests.graph.cases import GOOD, Case
from tests.graph.export import export
from tests.graph.networks import NETWORKS, trained

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
RNG = np.random.default_rng(4)


def same(graph: Graph) -> None:
    """``graph`` goes through the canonical form and comes back."""
    form, weights = to_canonical(graph)
    assert hashlib.sha256(form).hexdigest() == graph.digest
    again = from_canonical(form, weights)
    assert again.digest == graph.digest
    assert to_canonical(again) == (form, weights)
    x = torch.rand(2, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    modules = [to_module(one, dtype=torch.float64) for one in (graph, again)]
    assert torch.equal(*(module(x) for module in modules)) or modules[0](x).isnan().any()


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_every_operator_comes_back(case: Case) -> None:
    graph = read_onnx(case.data())
    unruled = {type(entry.operator) for entry in graph.nodes} - set(RULES)
    if not unruled:
        same(graph)
        return
    with pytest.raises(UnsupportedModel, match="not one of the canonical form"):  # an operator still without a rule
        from_canonical(*to_canonical(graph))


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_back(name: str, dynamo: bool) -> None:
    shape = NETWORKS[name][1]
    graph = read_onnx(export(trained(name), shape, dynamo=dynamo, opset=18, dynamic=True))
    same(graph)
    same(normalized(graph, 0.5, [0.25] * shape[0]))


def test_the_order_of_independent_nodes_does_not_count() -> None:
    nodes = [node("Relu", ["x"], "a"), node("Tanh", ["x"], "b"), node("Sub", ["a", "b"])]
    first, second = (read_onnx(model([nodes[i], nodes[1 - i], nodes[2]], (6,))) for i in (0, 1))
    assert first.digest == second.digest
    assert to_canonical(first) == to_canonical(second)


def conforms(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether ``value`` fits, by the few words of JSON Schema that ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    kinds = {"object": dict, "array": list, "integer": int, "string": str}
    if "type" in schema and type(value) is not kinds[schema["type"]]:
        return False
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        fits = all(
            conforms(entry, known[key], root)
            if key in known
            else more is True or (more and conforms(entry, more, root))
            for key, entry in value.items()
        )
        return fits and set(schema.get("required", [])) <= set(value)
    if isinstance(value, list):
        parts = schema.get("prefixItems", [schema.get("items", {})] * len(value))
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return within and all(conforms(entry, part, root) for entry, part in zip(value, parts, strict=True))
    if isinstance(value, int):
        return value >= schema.get("minimum", value)
    return re.search(schema.get("pattern", ""), value) is not None


def test_what_is_written_fits_the_schema() -> None:
    schema = json.loads((DIGITS.parents[1] / "docs" / "graph.schema.json").read_text())
    for data in [case.data() for case in GOOD] + [(DIGITS / "digits.onnx").read_bytes()]:
        assert conforms(json.loads(to_canonical(read_onnx(data))[0]), schema, schema)
    document, weights = canonical()
    shape = {"input_shape": [0]}
    array = {"nodes": [document["nodes"][0] | {"arrays": {"weight": ["f2", [1], "0" * 64]}}]}
    for wrong in ({"format": 2}, shape, {"more": 1}, {"output": -1}, {"nodes": [{}]}, array):
        assert not conforms(document | wrong, schema, schema)
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


WINDOWS = {"kernel": [2, 2], "strides": [1, 1], "dilations": [1, 1], "pads": [[0, 0], [0, 0]], "ceil": False}
IMAGE = [4, 9, 8]


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def windows(**changes: Any) -> dict[str, Any]:
    return {"windows": WINDOWS | changes}


CONV = {"weight": f(5, 4, 2, 2)}
HOSTILE: list[tuple[str, dict[str, Any], dict[str, np.ndarray], int]] = [
    ("Relu", {}, {}, 2),
    ("Relu", {}, {"indices": np.array([0])}, 1),
    ("Gelu", {"approximate": "sign"}, {}, 1),
    ("Celu", {"alpha": -0.5}, {}, 1),
    ("LeakyRelu", {"alpha": "0.1"}, {}, 1),
    ("LeakyRelu", {"alpha": 10**400}, {}, 1),
    ("LeakyRelu", {}, {}, 1),
    ("LeakyRelu", {"alpha": None}, {}, 1),
    ("PRelu", {}, {"slope": f(2, 4, 9, 8)}, 1),
    ("PRelu", {}, {"slope": np.array(np.nan, np.float32)}, 1),
    ("Add", {"constant": None, "constant_first": False}, {}, 1),
    ("Add", {"constant_first": False}, {"constant": f(1)}, 2),
    ("Add", {"constant_first": False}, {"constant": f(2, 4, 9, 8)}, 1),
    ("Add", {"constant_first": 0}, {"constant": f(1)}, 1),
    ("Add", {"constant_first": False}, {"constant": np.array([1])}, 1),
    ("Div", {"constant_first": False}, {"constant": np.array([0], np.float32)}, 1),
    ("Sum", {}, {"constant": f(2, 1, 1, 1)}, 2),
    ("Reshape", {"target": [-18, -16]}, {}, 1),
    ("Reshape", {"target": [288.0]}, {}, 1),
    ("Reshape", {"target": [1] * 17 + [288]}, {}, 1),
    ("Transpose", {"permutation": [0, 0, 1]}, {}, 1),
    ("Transpose", {"permutation": [0, 1]}, {}, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(dilations=[0, 1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(strides=[1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(kernel=[1, 1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(pads=[[-1, 0], [0, 0]])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(pads=[[2**40, 0], [0, 0]])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(ceil=True)}, CONV, 1),
    ("Conv", {"bias": None, "groups": 2, **windows()}, CONV, 1),
    ("Conv", {"bias": None, "groups": 0, **windows()}, CONV, 1),
    ("Conv", {"groups": 1, **windows()}, CONV | {"bias": f(4)}, 1),
    ("Conv", {"bias": None, "groups": 1, "windows": {}}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, "windows": WINDOWS | {"more": 1}}, CONV, 1),
    ("MaxPool", windows(pads=[[2, 2], [0, 0]]), {}, 1),
    ("MaxPool", windows(kernel=[2], strides=[1], dilations=[1], pads=[[0, 0]]), {}, 1),
    ("MaxPool", windows(kernel=[2**19, 2], pads=[[2**18, 2**18], [0, 0]]), {}, 1),
    ("AveragePool", {**windows(dilations=[2, 2]), "include_pad": False}, {}, 1),
    ("ReduceMean", {"axes": [], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [1, 1], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [-1], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [0], "keepdims": 2}, {}, 1),
    ("MatMul", {"bias": None}, {"weight": f(3, 7)}, 1),
    ("MatMul", {}, {"weight": f(3, 8), "bias": f(1)}, 1),
    ("LeftMatMul", {}, {"weight": f(3, 8)}, 1),
    ("LeftMatMul", {}, {"weight": f(9)}, 1),
    ("Product", {}, {}, 1),
    ("BatchNormalization", {}, {"scale": f(1), "offset": f(1)}, 1),
    ("LayerNormalization", {"axis": 2, "epsilon": -1.0, "bias": None}, {"scale": f(8)}, 1),
    ("LayerNormalization", {"axis": 1, "epsilon": 1.0, "bias": None}, {"scale": f(8)}, 1),
    ("LayerNormalization", {"axis": 2, "epsilon": 1.0}, {"scale": f(8), "bias": f(1)}, 1),
    ("Softmax", {"axis": 3, "trailing": False}, {}, 1),
    ("Softmax", {"axis": -1, "trailing": False}, {}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([4])}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([-1])}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([], np.int64)}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([0.0])}, 1),
    ("Slice", {"axes": [0], "ranges": [[0, 5, 1]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[-1, 3, 1]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[0, 3, 0]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[3, 1, 1]]}, {}, 1),
    ("Slice", {"axes": [0, 1], "ranges": [[0, 3, 1]]}, {}, 1),
    ("Pad", {"mode": "mirror", "pads": [[1, 1]] * 3, "value": 0.0}, {}, 1),
    ("Pad", {"mode": "reflect", "pads": [[4, 0], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "edge", "pads": [[-1, 0], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[-4, 9], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[2**19, 0], [2**19, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[1, 1]], "value": 0.0}, {}, 1),
    ("Concat", {"axis": 3}, {}, 2),
    ("Concat", {"axis": 0}, {}, 1),
    ("Identity", {}, {}, 1),
    ("Operator", {}, {}, 1),
]


@pytest.mark.parametrize(("operator", "attributes", "arrays", "inputs"), HOSTILE, ids=lambda value: str(value)[:50])
def test_an_operator_that_would_not_do_what_it_says_is_refused(
    operator: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray], inputs: int
) -> None:
    digests = {
        name: [array.dtype.str.lstrip("<|"), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in arrays.items()
    }
    entry = {"operator": operator, "attributes": attributes, "arrays": digests, "inputs": [0] * inputs}
    document = {"format": 1, "input_shape": IMAGE, "output": 1, "nodes": [entry]}
    found = refused(document, write_safetensors({f"1.{name}": array for name, array in arrays.items()}))
    assert [obstacle.node for obstacle in found.obstacles] == [0]  # its own fault, not that of the whole


def test_every_rule_is_tried() -> None:
    tried = {operator for operator, *_ in HOSTILE}
    rules = {rule.__name__ for cls, (_, _, rule) in RULES.items() if cls.__name__ in tried}
    assert {rule.__name__ for _, _, rule in RULES.values()} - rules <= {"_global_pool"}  # can't be wrong but in shape


# Safetensors


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(["f4", "f8", "i8", "i4", "u1", "?"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_safetensors_are_what_the_library_writes_and_reads(what: dict[str, tuple[str, list[int]]]) -> None:
    arrays = {name: RNG.integers(0, 2, shape).astype(kind) for name, (kind, shape) in what.items()}
    for found in (
        read_safetensors(safetensors.numpy.save(arrays), Limits()),
        safetensors.numpy.load(write_safetensors(arrays)),
    ):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)


def tensors(header: Any, content: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        (2**63).to_bytes(8, "little"),
        tensors(b""),
        tensors([]),
        tensors(b'{"a": 1, "a": 1}'),
        tensors({"a": 1}),
        tensors(entry("F4")),
        tensors(entry(["F32"])),
        tensors(entry(shape=[-2])),
        tensors(entry(shape=[True])),
        tensors(entry(shape=2)),
        tensors(entry(shape=[2**40, 2**40])),
        tensors(entry(shape=[2**31, 2**33], offsets=[0, 2**66])),
        tensors(entry(shape=[1] * 17)),
        tensors(entry(offsets=[0, 4])),
        tensors(entry(offsets=[8, 16])),
        tensors(entry(offsets=[8, 0])),
        tensors(entry(offsets=[0])),
        tensors(entry(offsets=[0, 8.0])),
        tensors(entry(more=1)),
        tensors(entry(), b"\0" * 9),
        tensors(entry() | {"b": entry()["a"]}),
        tensors(entry(shape=[1], offsets=[4, 8])),
    ],
)
def test_safetensors_that_are_not(data: bytes) -> None:
    with pytest.raises(Refusal):
        read_safetensors(data, Limits())


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
