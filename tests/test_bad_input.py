"""Bad input to the real service: each is refused with its cause and remedy, and nothing else notices."""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.service import Service, until

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
GOOD_MODEL = (DIGITS / "digits.onnx").read_bytes()
INPUT = {"shape": [1, 8, 8], "range": [0, 1], "mean": 0, "std": 1}

Api = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=60) as client:
        yield client


def taken_in(http: httpx.Client, noun: str, content: bytes, **fields: Any) -> dict[str, Any]:
    """What became of an upload: the refusing problem, or the resource after intake."""
    upload = http.post("/v1/uploads", content=content).raise_for_status().json()
    answer = http.post(f"/v1/{noun}", json={"upload_id": upload["id"], "name": "bad", **fields})
    if answer.is_error:
        return {"state": "refused", "problem": answer.json()}
    look = lambda: http.get(answer.headers["location"]).json()  # noqa: E731
    return until(look, lambda resource: resource["state"] != "validating")


def onnx_model(nodes: list[onnx.NodeProto], *, weights: np.ndarray | None = None) -> bytes:
    """A classifier of (batch, 1, 8, 8) whose last value is ``z``."""
    constants = [] if weights is None else [numpy_helper.from_array(weights, "w")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", None])]
    graph = helper.make_graph(nodes, "bad", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def nan_weights() -> bytes:
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["z"])]
    return onnx_model(nodes, weights=np.full((64, 10), np.nan, np.float32))


def many_nodes() -> bytes:
    names = ["x", *(f"v{i}" for i in range(49_999)), "z"]
    return onnx_model([helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)])


def huge_reshape() -> bytes:
    return onnx_model([helper.make_node("Reshape", ["x", "w"], ["z"])], weights=np.array([0, 2**60], np.int64))


def huge_constant() -> bytes:
    nodes = [
        helper.make_node("ConstantOfShape", ["w"], ["c"]),
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Add", ["f", "c"], ["z"]),
    ]
    return onnx_model(nodes, weights=np.array([2**30, 2**30], np.int64))


def pickled() -> bytes:
    return pickle.dumps({"weights": [1.0]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"MZ" + bytes(1000), "ONNX"),
        (pickled(), "export"),
        (GOOD_MODEL[: len(GOOD_MODEL) // 2], "cut off"),
        (nan_weights(), "not a number"),
        (many_nodes(), "50000 nodes"),
        (huge_reshape(), "1152921504606846976"),
        (huge_constant(), "over the limit"),
    ],
    ids=["wrong-magic", "pickle", "truncated", "nan-weights", "50000-nodes", "reshape-2^60", "constant-2^60"],
)
def test_a_bad_model(http: httpx.Client, content: bytes, words: str) -> None:
    resource = taken_in(http, "models", content, input=INPUT)
    assert resource["state"] in ("rejected", "refused")
    problem = resource["problem"]
    assert problem["type"] in ("/problems/unsupported-model", "/problems/unsupported-model-format")
    assert words in str(problem)
    assert problem["remedy"]


def test_a_model_declared_with_another_shape(http: httpx.Client) -> None:
    resource = taken_in(http, "models", GOOD_MODEL, input={**INPUT, "shape": [3, 32, 32]})
    assert resource["state"] == "rejected"
    assert "[1, 8, 8]" in resource["problem"]["detail"]
    assert "[3, 32, 32]" in resource["problem"]["detail"]


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy declares allow_pickle among them
    return file.getvalue()


def bomb() -> bytes:
    """Some 100 kB that claim, and unpack to, 100 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as x:
        np.lib.format.write_array_header_1_0(x, {"descr": "<f4", "fortran_order": False, "shape": (25 * 2**20, 1)})
        for _ in range(100):
            x.write(bytes(2**20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"not a zip file", "unsupported-dataset-format"),
        (npz(x=np.zeros((2, 1, 8, 8), np.float32))[:-40], "invalid-dataset"),
        (npz(x=np.full((2, 1, 8, 8), np.nan, np.float32)), "invalid-dataset"),
        (npz(x=np.array([{}, {}], dtype=object)), "invalid-dataset"),
        (npz(x=np.zeros((2, 64), np.float32), y=np.array([0, -1])), "invalid-dataset"),
        (bomb(), "invalid-dataset"),
    ],
    ids=["no-zip", "truncated", "nan", "objects", "negative-label", "bomb"],
)
def test_a_bad_data_set(http: httpx.Client, content: bytes, kind: str) -> None:
    resource = taken_in(http, "datasets", content)
    assert resource["state"] in ("rejected", "refused")
    assert resource["problem"]["type"] == f"/problems/{kind}"
    assert resource["problem"]["detail"]
    assert resource["problem"]["remedy"]


@pytest.fixture(scope="module")
def model_id(http: httpx.Client) -> str:
    resource = taken_in(http, "models", GOOD_MODEL, input=INPUT)
    assert resource["state"] == "ready"
    return str(resource["id"])


@pytest.fixture(scope="module")
def dataset_id(http: httpx.Client) -> str:
    resource = taken_in(http, "datasets", (DIGITS / "digits.npz").read_bytes())
    assert resource["state"] == "ready"
    return str(resource["id"])


SMOOTHING = {"kind": "smoothing", "sigma": 0.25, "n": 1000}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": {**SMOOTHING, "sigma": 0}}, "sigma"),
        ({"method": {**SMOOTHING, "sigma": -1}}, "sigma"),
        ({"method": {**SMOOTHING, "sigma": "0.25"}}, "sigma"),
        ({"method": {**SMOOTHING, "alpha": 0}}, "alpha"),
        ({"method": {**SMOOTHING, "alpha": 1}}, "alpha"),
        ({"method": {**SMOOTHING, "n": 9}}, "n >= 10"),
        ({"method": {**SMOOTHING, "n": 0}}, "/method/n"),
        ({"method": {**SMOOTHING, "seed": 1}}, "seed"),
        ({"method": {"kind": "magic"}}, "magic"),
        ({"method": SMOOTHING, "subset": {"start": 0, "stop": 451}}, "450"),
        ({"method": SMOOTHING, "colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_bad_certification(
    http: httpx.Client, model_id: str, dataset_id: str, fields: dict[str, Any], words: str
) -> None:
    answer = http.post("/v1/certifications", json={"model_id": model_id, "dataset_id": dataset_id, **fields})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in str(answer.json())


@pytest.mark.parametrize(
    ("arrays", "kind"),
    [
        ({"x": np.zeros((2, 3, 8, 8), np.float32)}, "shape-mismatch"),
        ({"x": np.full((2, 1, 8, 8), 255, np.uint8)}, "range-mismatch"),
        ({"x": np.zeros((2, 1, 8, 8), np.float32), "y": np.array([0, 10])}, "labels-out-of-range"),
    ],
)
def test_data_that_do_not_fit_the_model(
    http: httpx.Client, model_id: str, arrays: dict[str, np.ndarray], kind: str
) -> None:
    dataset = taken_in(http, "datasets", npz(**arrays))
    assert dataset["state"] == "ready"
    body = {"model_id": model_id, "dataset_id": dataset["id"], "method": SMOOTHING}
    answer = http.post("/v1/certifications", json=body)
    assert answer.status_code == 422
    assert answer.json()["type"] == f"/problems/{kind}"


def test_after_all_that_the_service_works(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    assert http.get("/readyz").json()["status"] == "ok"
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING, "subset": {"start": 0, "stop": 2}}
    where = http.post("/v1/certifications", json=body).raise_for_status().headers["location"]
    job = until(lambda: http.get(where).json(), lambda job: job["state"] not in ("queued", "running"))
    assert job["state"] == "succeeded"
