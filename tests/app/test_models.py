from typing import Any

import pytest
from httpx import Client

from models.bell import Bell
from models.database import Database
from models.problems import Problem
from tests.app import rows
from tests.app.calls import INPUT, ONNX, post_model, problem, ready_model, upload


def test_from_validating_to_ready(client: Client, database: Database, bells: list[Bell]) -> None:
    answer = post_model(client, labels=[str(digit) for digit in range(10)])
    assert answer.status_code == 202
    assert answer.headers["retry-after"] == "1"
    model = answer.json()
    assert answer.headers["location"] == f"/v1/models/{model['id']}"
    assert (model["state"], model["name"], model["size"]) == ("validating", "digits", len(ONNX))
    assert model["input"] == {"shape": [1, 8, 8], "range": [0.0, 1.0], "mean": [0.0], "std": [1.0]}
    assert bells == [Bell("model", model["id"])]
    assert client.get(answer.headers["location"]).json() == model

    rows.accept(database, model["id"])
    answer = client.get(f"/v1/models/{model['id']}")
    assert "retry-after" not in answer.headers
    assert (answer.json()["state"], answer.json()["summary"]) == ("ready", rows.MODEL)
    assert answer.json()["finished_at"].endswith("Z")


def test_a_rejected_model_says_why(client: Client, database: Database) -> None:
    model_id = post_model(client).json()["id"]
    why = Problem.UNSUPPORTED_MODEL.document("node 3", obstacles=[{"node": 3, "operator": "Loop"}])
    rows.reject(database, model_id, why)
    model = client.get(f"/v1/models/{model_id}").json()
    assert (model["state"], model["problem"]) == ("rejected", why)


def test_the_same_bytes_and_settings_are_the_same_model(client: Client, database: Database, bells: list[Bell]) -> None:
    first = post_model(client)
    again = post_model(client, name="another name", input=INPUT | {"range": [0.0, 1.0], "mean": [0.0]})
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(bells) == 1
    rows.accept(database, first.json()["id"])
    again = post_model(client)
    assert (again.status_code, again.json()["state"]) == (200, "ready")
    assert "retry-after" not in again.headers


def test_other_settings_are_another_model(client: Client) -> None:
    others: tuple[dict[str, Any], ...] = ({}, {"input": INPUT | {"mean": 0.5}}, {"output": "logits"}, {"labels": ["a"]})
    assert len({post_model(client, **other).json()["id"] for other in others}) == len(others)


def test_external_data_is_named_by_upload(client: Client) -> None:
    weights = upload(client, b"weights")
    model = post_model(client, external_data={"digits.onnx.data": weights}).json()
    assert model["external_data"] == {"digits.onnx.data": weights}
    document = problem(
        post_model(client, external_data={"a/b": "upl_" + "0" * 32}),
        422,
        "invalid-request",
    )
    assert document["errors"][0]["pointer"] == "/external_data/a~1b"


OTHER_FORMATS = [
    (b"PK\x03\x04" + bytes(26) + b"archive/data.pkl", "torch.onnx.export"),
    (b"PK\x03\x04" + bytes(26) + b"metadata.json", "keras"),
    (b"PK\x05\x06", "torch.onnx.export"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9", "torch.onnx.export"),
    (b"\x80\x04\x95", "torch.onnx.export"),
    (b"\x89HDF\r\n\x1a\n", "keras"),
    (b"\x1c\0\0\0TFL3", "tflite"),
    (b"\x93NUMPY\x01", "torch.onnx.export"),
    (b"\x1f\x8b\x08", "gunzip"),
]


def test_other_formats_are_refused_with_the_line_that_converts_them(client: Client, bells: list[Bell]) -> None:
    for data, what in OTHER_FORMATS:
        document = problem(post_model(client, data), 415, "unsupported-model-format")
        assert what in document["convert"] and document["convert"] in document["detail"]
    assert bells == []


SAFETENSORS = b'\x40\0\0\0\0\0\0\0{"a":'
MLP = {"name": "mlp", "parameters": {"hidden": [16]}}


def test_weights_need_an_architecture_and_keep_it(client: Client) -> None:
    model = post_model(client, SAFETENSORS, architecture=MLP).json()
    whole = {"name": "mlp", "parameters": MLP["parameters"] | {"activation": "relu", "batch_norm": False}}  # type: ignore[operator]
    whole["parameters"]["num_classes"] = 10
    assert model["architecture"] == whole
    assert client.get(f"/v1/models/{model['id']}").json() == model
    again = post_model(client, SAFETENSORS, architecture=whole)
    assert (again.status_code, again.json()["id"]) == (200, model["id"])
    assert post_model(client, SAFETENSORS, architecture={"name": "resnet"}).json()["id"] != model["id"]
    assert post_model(client).json()["architecture"] is None


def test_a_graph_json_needs_its_weights(client: Client) -> None:
    weights = upload(client, b"weights")
    for data in (b'{"format":1}', b'\n {"format":1}'):
        answer = post_model(client, data, external_data={"weights.safetensors": weights})
        assert answer.status_code == 202
        assert answer.json()["external_data"] == {"weights.safetensors": weights}


def test_what_a_format_has_not_or_needs_is_named(client: Client) -> None:
    weights = upload(client, b"weights")
    unfit: list[tuple[bytes, dict[str, Any], str]] = [
        (SAFETENSORS, {}, "/architecture"),
        (SAFETENSORS, {"architecture": MLP, "output": "y"}, "/output"),
        (SAFETENSORS, {"architecture": MLP, "external_data": {"a": weights}}, "/external_data"),
        (ONNX, {"architecture": MLP}, "/architecture"),
        (b"{}", {}, "/external_data"),
        (b"{}", {"external_data": {"a": weights}}, "/external_data"),
        (b"{}", {"external_data": {"weights.safetensors": weights}, "output": "y"}, "/output"),
        (b"{}", {"architecture": MLP}, "/architecture"),
        (SAFETENSORS, {"architecture": {"name": "lenet"}}, "/architecture"),
        (
            SAFETENSORS,
            {"architecture": {"name": "mlp", "parameters": {"hidden": ["9"]}}},
            "/architecture/mlp/parameters",
        ),
        (SAFETENSORS, {"architecture": {"name": "mlp", "depth": 3}}, "/architecture/mlp/depth"),
    ]
    for data, fields, pointer in unfit:
        document = problem(post_model(client, data, **fields), 422, "invalid-request")
        assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_what_may_be_onnx_is_left_to_intake(client: Client) -> None:
    for data in (b"\x08\x0a\x12\x04TFL4", b"\x08\x0a\x12\x03abc:{", b"\x08\x07:\x80\x02", b"?"):
        assert post_model(client, data).status_code == 202


UNFIT: list[tuple[str, Any, str]] = [
    ("name", "", "/name"),
    ("name", "a\0b", "/name"),
    ("name", "x" * 201, "/name"),
    ("name", 7, "/name"),
    ("upload_id", "upl_\0", "/upload_id"),
    ("upload_id", "upl_" + "0" * 32, "/upload_id"),
    ("upload_id", "x" * 100_000, "/upload_id"),
    ("nmae", "typo", "/nmae"),
    ("output", "a\0b", "/output"),
    ("labels", ["a\0b"], "/labels/0"),
    ("external_data", {"a\0b": "upl_" + "0" * 32}, "/external_data/a\0b/[key]"),
    ("external_data", {"a": 1}, "/external_data/a"),
    ("input", INPUT | {"shape": []}, "/input/shape"),
    ("input", INPUT | {"shape": [0]}, "/input/shape/0"),
    ("input", INPUT | {"shape": [1, 8, "8"]}, "/input/shape/2"),
    ("input", INPUT | {"shape": [1, 1, 1, 1, 1]}, "/input/shape"),
    ("input", INPUT | {"shape": [2**13, 2**13]}, "/input"),
    ("input", INPUT | {"shape": [10**30]}, "/input"),
    ("input", INPUT | {"range": [1, 1]}, "/input"),
    ("input", INPUT | {"range": [0]}, "/input/range"),
    ("input", INPUT | {"range": [1, 1 + 1e-9]}, "/input"),
    ("input", INPUT | {"range": [0, 1e-40]}, "/input"),
    ("input", INPUT | {"range": [0, 1e39]}, "/input/range/1"),
    ("input", INPUT | {"range": [-3e38, 3e38]}, "/input"),
    ("input", INPUT | {"mean": -1e39}, "/input/mean/0"),
    ("input", INPUT | {"std": 1e-40}, "/input/std"),
    ("input", INPUT | {"std": 1e300}, "/input/std/0"),
    ("input", INPUT | {"range": [0, 1e10], "std": 1e-30}, "/input"),
    ("input", INPUT | {"mean": 3e38, "std": 0.5}, "/input"),
    ("input", INPUT | {"mean": [0, 0]}, "/input"),
    ("input", INPUT | {"std": 0}, "/input/std"),
    ("input", INPUT | {"std": [-1.0]}, "/input/std"),
    ("input", INPUT | {"std": True}, "/input/std"),
    ("input", {}, "/input/shape"),
    ("input", None, "/input"),
]


def test_a_field_that_does_not_fit_is_named(client: Client) -> None:
    body = {"upload_id": upload(client, ONNX), "name": "digits", "input": INPUT}
    for field, value, pointer in UNFIT:
        document = problem(client.post("/v1/models", json=body | {field: value}), 422, "invalid-request")
        assert [error["pointer"] for error in document["errors"]] == [pointer], field
        assert len(str(document)) < 2000


def test_numbers_are_finite_and_text_is_text(client: Client) -> None:
    upload_id = upload(client, ONNX)
    cases = [
        *(f'"x", "input": {{"shape": [1], "range": [0, {value}]}}' for value in ("NaN", "Infinity", "1e999")),
        *(f'"x", "input": {{"shape": [1], "std": {value}}}' for value in ("NaN", "Infinity", "1e999")),
        '"\\ud800", "input": {"shape": [1]}',
        '"\\u0000", "input": {"shape": [1]}',
    ]
    for case in cases:
        body = f'{{"upload_id": "{upload_id}", "name": {case}}}'
        answer = client.post("/v1/models", content=body, headers={"Content-Type": "application/json"})
        problem(answer, 422, "invalid-request")


def test_models_are_listed_newest_first(client: Client, database: Database) -> None:
    made = [ready_model(client, database, ONNX + bytes([number])) for number in range(5)]
    seen, cursor = [], None
    for size in (2, 2, 1):
        page = client.get("/v1/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["items"]) == size
        seen += [model["id"] for model in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert sorted(seen) == sorted(made)
    assert seen == sorted(seen, reverse=True)
    assert client.get("/v1/models").json()["items"][0] == client.get(f"/v1/models/{seen[0]}").json()


def test_a_page_that_can_not_be(client: Client) -> None:
    for query in ("cursor=x", "cursor=mdl_%00", "limit=0", "limit=1001", "limit=x", "cursor=" + "9" * 5000):
        document = problem(client.get(f"/v1/models?{query}"), 422, "invalid-request")
        assert document["errors"][0]["parameter"] == query.partition("=")[0]
        assert len(str(document)) < 2000


@pytest.mark.parametrize("noun", ["models", "datasets", "certifications"])
def test_an_id_of_nothing(client: Client, noun: str) -> None:
    for row_id in ("mdl_" + "0" * 32, "x", "mdl_%00", "x" * 5000, "mdl_" + "0" * 32 + "%0a", "%ff"):
        document = problem(client.get(f"/v1/{noun}/{row_id}"), 404, "not-found")
        assert len(document["detail"]) < 200
