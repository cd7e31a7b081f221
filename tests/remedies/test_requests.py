"""Requests that are wrong as such."""

import gzip
import hashlib
import re
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx

from models.problems import Problem
from tests.remedies.files import SMOOTHING, inputs, npz
from tests.remedies.obey import obeys, ready, refused
from tests.service import Service


@obeys(Problem.INVALID_REQUEST)
def test_correct_the_fields_that_errors_names(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    body: dict[str, Any] = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING | {"sigma": -1}}
    document = refused(http.post("/v1/certifications", json=body), Problem.INVALID_REQUEST)
    assert "`errors`" in document["remedy"]
    (error,) = document["errors"]
    parent, field = error["pointer"].removeprefix("/").split("/")
    body[parent][field] = 0.25
    assert http.post("/v1/certifications", json=body).status_code == 202


@obeys(Problem.MALFORMED_JSON)
def test_send_a_json_object(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    headers = {"Content-Type": "application/json"}
    broken = http.post("/v1/certifications", content=f"{{'model_id': '{model_id}'}}", headers=headers)
    refused(broken, Problem.MALFORMED_JSON)
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    assert http.post("/v1/certifications", json=body).status_code == 202


@obeys(Problem.UNSUPPORTED_MEDIA_TYPE)
def test_send_the_content_type(http: httpx.Client) -> None:
    call = http.build_request("POST", "/v1/models", json={}, headers={"Content-Type": "text/plain"})
    document = refused(http.send(call), Problem.UNSUPPORTED_MEDIA_TYPE)
    name, value = re.search(r"-H '([^:]+): ([^']+)'", document["remedy"]).groups()  # type: ignore[union-attr]
    call.headers[name] = value
    refused(http.send(call), Problem.INVALID_REQUEST)  # which is read now, and has no fields


@obeys(Problem.UNKNOWN_PARAMETER)
def test_correct_the_spelling_of_a_parameter(http: httpx.Client) -> None:
    document = refused(http.get("/v1/models", params={"limt": 1}), Problem.UNKNOWN_PARAMETER)
    assert "limit" in document["detail"].split("there are:")[1]
    assert http.get("/v1/models", params={"limit": 1}).status_code == 200


@obeys(Problem.REPEATED_PARAMETER)
def test_give_a_parameter_once(http: httpx.Client) -> None:
    document = refused(http.get("/v1/models", params=[("limit", 1), ("limit", 2)]), Problem.REPEATED_PARAMETER)
    assert "Give it once" in document["remedy"]
    assert http.get("/v1/models", params={"limit": 1}).status_code == 200


@obeys(Problem.NOT_ACCEPTABLE)
def test_leave_accept_out_or_name_a_type(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    where = f"{http.post('/v1/certifications', json=body).headers['location']}/results"
    document = refused(http.get(where, headers={"Accept": "*/*;q=0"}), Problem.NOT_ACCEPTABLE)
    types = re.findall(r"[a-z]+/[a-z-]+", document["detail"])
    assert len(types) > 1
    for kind in types:
        answer = http.get(where, headers={"Accept": kind})
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)
    del http.headers["Accept"]
    assert http.get(where).status_code == 200


@obeys(Problem.UNSUPPORTED_ENCODING)
def test_send_the_body_as_it_is(http: httpx.Client) -> None:
    plain = npz(x=inputs())
    packed = http.post("/v1/uploads", content=gzip.compress(plain), headers={"Content-Encoding": "gzip"})
    refused(packed, Problem.UNSUPPORTED_ENCODING)
    answer = http.post("/v1/uploads", content=gzip.decompress(gzip.compress(plain)))
    assert answer.json()["sha256"] == hashlib.sha256(plain).hexdigest()


@obeys(Problem.UNAUTHENTICATED)
def test_send_the_key_from_the_data_folder(service: Service) -> None:
    document = refused(httpx.get(f"{service.url}/v1/models"), Problem.UNAUTHENTICATED)
    assert "Authorization: Bearer KEY" in document["remedy"] and "api-key in RADII_DATA_DIR" in document["remedy"]
    key = (service.data_dir / "api-key").read_text().strip()
    assert httpx.get(f"{service.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@obeys(Problem.NOT_FOUND)
def test_check_the_id(http: httpx.Client, model_id: str) -> None:
    refused(http.get(f"/v1/models/{model_id[:-1]}"), Problem.NOT_FOUND)
    listed = http.get("/v1/models").json()["items"]
    assert http.get(f"/v1/models/{listed[0]['id']}").status_code == 200


@obeys(Problem.METHOD_NOT_ALLOWED)
def test_use_a_method_that_the_path_answers(http: httpx.Client, model_id: str) -> None:
    document = refused(http.put(f"/v1/models/{model_id}"), Problem.METHOD_NOT_ALLOWED)
    assert "/docs" in document["remedy"] and http.get("/docs").status_code == 200
    methods = document["detail"].removeprefix("this path answers ").split(", ")
    for method in {*methods} - {"DELETE"}:  # others need it yet
        assert http.request(method, f"/v1/models/{model_id}").status_code == 200


@obeys(Problem.REQUEST_TOO_LARGE)
def test_upload_what_is_too_large_for_a_request(http: httpx.Client, model_id: str) -> None:
    x = inputs(20_000)
    body: dict[str, Any] = {"model_id": model_id, "method": SMOOTHING, "subset": {"stop": 1}}
    document = refused(http.post("/v1/certifications", json=body | {"inputs": x.tolist()}), Problem.REQUEST_TOO_LARGE)
    assert document["remedy"] == "Upload data as a file and name its id."
    body["dataset_id"] = ready(http, "datasets", npz(x=x))
    assert http.post("/v1/certifications", json=body).status_code == 202


@obeys(Problem.EMPTY_UPLOAD)
def test_send_the_file_as_the_raw_body(http: httpx.Client, service: Service, tmp_path: Path) -> None:
    document = refused(http.post("/v1/uploads"), Problem.EMPTY_UPLOAD)
    (tmp_path / "FILE").write_bytes(npz(x=inputs()))
    flags = re.search(r"curl: (--data-binary @FILE)", document["remedy"])[1].split()  # type: ignore[index]
    curl = ["curl", "-sf", "-H", f"Authorization: Bearer {service.key}", f"{service.url}/v1/uploads", *flags]
    said = subprocess.run(curl, cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    assert f'"size":{(tmp_path / "FILE").stat().st_size}' in said.replace(" ", "")


@obeys(Problem.DIGEST_MISMATCH)
def test_send_the_file_again(http: httpx.Client) -> None:
    content = npz(x=inputs())
    digest = f"sha-256=:{b64encode(hashlib.sha256(content).digest()).decode()}:"
    cut = http.post("/v1/uploads", content=content[:-1], headers={"Content-Digest": digest})
    refused(cut, Problem.DIGEST_MISMATCH)
    assert http.post("/v1/uploads", content=content, headers={"Content-Digest": digest}).status_code == 201


@obeys(Problem.STILL_NEEDED)
def test_delete_what_needs_it_first_or_everything_together(http: httpx.Client, model_id: str) -> None:
    for cascade in (False, True):
        dataset_id = ready(http, "datasets", npz(x=inputs(2 + cascade)))
        body = {"model_id": model_id, "method": SMOOTHING, "dataset_id": dataset_id}
        assert http.post("/v1/certifications", json=body).status_code == 202
        document = refused(http.delete(f"/v1/datasets/{dataset_id}"), Problem.STILL_NEEDED)
        assert "cascade=true" in document["remedy"]
        (needing,) = document["needed_by"]
        for row_id in [] if cascade else needing["ids"]:
            assert http.delete(f"/v1/certifications/{row_id}").status_code == 200
        query = {"cascade": "true"} if cascade else {}
        assert http.delete(f"/v1/datasets/{dataset_id}", params=query).status_code == 200
