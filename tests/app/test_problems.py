import gzip
import json
import logging

import pytest
from fastapi import FastAPI
from httpx import Client

from app.database import TenantDatabase
from app.middleware import JSON_LIMIT
from models.database import Database
from models.problems import Problem
from models.repositories import intake
from models.settings import Settings
from tests.app.calls import certification, post_dataset, post_model, problem

# Nothing here asks more of the database than the other tests do on both.

JSON = {"Content-Type": "application/json"}


def test_bodies_that_are_no_json(client: Client) -> None:
    for body in (b"{", b"\xff", b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}", b"{'name': 1}"):
        problem(client.post("/v1/models", content=body, headers=JSON), 400, "malformed-json")
    for body in (b"", b"[]", b"null", b'"x"'):
        problem(client.post("/v1/models", content=body, headers=JSON), 422, "invalid-request")


def test_a_body_that_is_not_declared_as_json(client: Client) -> None:
    answer = client.post("/v1/models", content=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert "x-www-form-urlencoded" in problem(answer, 415, "unsupported-media-type")["detail"]


def test_a_json_body_over_the_limit(client: Client) -> None:
    body = b'{"name": "' + b"x" * JSON_LIMIT + b'"}'
    problem(client.post("/v1/models", content=body, headers=JSON), 413, "request-too-large")
    problem(client.post("/v1/models", content=iter([body]), headers=JSON), 413, "request-too-large")  # no length said
    fits = b'{"name": "' + b"x" * (JSON_LIMIT - 12) + b'"}'
    document = problem(client.post("/v1/models", content=fits, headers=JSON), 422, "invalid-request")
    assert len(str(document)) < 2000


def test_many_errors_are_not_all_listed(client: Client) -> None:
    problem(client.post("/v1/models", content=b'{"\\ud83d": 1}', headers=JSON), 422, "invalid-request")
    body = json.dumps({"x" * 10_000: 1} | {f"field{number}": number for number in range(1000)})
    document = problem(client.post("/v1/models", content=body, headers=JSON), 422, "invalid-request")
    assert len(document["errors"]) == 20
    assert len(str(document)) < 10_000


def test_unknown_query_parameters(client: Client) -> None:
    document = problem(client.get("/v1/models?limt=5"), 400, "unknown-parameter")
    assert "'limt'" in document["detail"] and "cursor, limit" in document["detail"]
    problem(client.get("/v1/capabilities?x=1"), 400, "unknown-parameter")
    problem(client.post("/v1/uploads?size=4", content=b"data"), 400, "unknown-parameter")


def test_query_parameters_that_are_there_twice(client: Client) -> None:
    for query in ("limit=1&limit=2", "limit=1&limit=1", "cursor=x&limit=5&cursor=y"):
        document = problem(client.get(f"/v1/models?{query}"), 400, "repeated-parameter")
        assert "2 times" in document["detail"]
    assert client.get("/v1/models?limit=1").status_code == 200


def test_a_cursor_of_another_list(client: Client) -> None:
    made = {"models": post_model(client).json()["id"], "datasets": post_dataset(client).json()["id"]}
    for noun in ("models", "datasets", "certifications", "keys"):
        for other, cursor in made.items():
            answer = client.get(f"/v1/{noun}?cursor={cursor}")
            if noun == other:
                assert answer.json() == {"items": [], "next_cursor": None}
            else:
                assert problem(answer, 422, "invalid-request")["errors"][0]["parameter"] == "cursor"


def test_a_body_that_is_compressed(client: Client, settings: Settings) -> None:
    calls = {"/v1/uploads": b"model", "/v1/models": b"{}"}
    for path, body in calls.items():
        for coding in ("gzip", "x-gzip", "GZIP", "br", "identity, gzip", "x" * 999):
            headers = {"Content-Encoding": coding, **JSON}
            answer = client.post(path, content=gzip.compress(body), headers=headers)
            assert len(problem(answer, 415, "unsupported-encoding")["detail"]) < 500
            assert answer.headers["accept-encoding"] == "identity"
    assert [path for path in settings.blob_dir.rglob("*") if path.is_file()] == []
    plain = client.post("/v1/uploads", content=b"model", headers={"Content-Encoding": "Identity"})
    assert plain.json()["size"] == len(b"model")


def test_an_answer_in_no_type_that_the_client_would_take(client: Client, database: Database) -> None:
    results = f"/v1/certifications/{certification(client, database)}/results"
    for path in ("/v1/models", "/v1/capabilities", results):
        for accept in ("application/json;q=0", "*/*;q=0"):
            document = problem(client.get(path, headers={"Accept": accept}), 406, "not-acceptable")
            assert "application/json" in document["detail"]
    answer = client.get(results, headers={"Accept": "application/json;q=0, application/jsonl;q=0.1"})
    assert answer.headers["content-type"].startswith("application/jsonl")


def test_paths_that_lead_nowhere(client: Client) -> None:
    for path in ("/nothing", "/v1", "/v1/", "/v1/models/", "/v2/models", "/problems/nothing", "/%00", "/" + "x" * 9000):
        document = problem(client.get(path), 404, "not-found")
        assert len(document["detail"]) < 500


def test_methods_that_a_path_does_not_answer(client: Client) -> None:
    model = f"/v1/models/{post_model(client).json()['id']}"
    for method, path, allow in (
        ("PUT", "/v1/models", "GET, HEAD, POST"),
        ("GET", "/v1/uploads", "POST"),
        ("HEAD", "/v1/uploads", "POST"),
        ("PUT", model, "DELETE, GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("BREW", "/v1/certifications", "GET, HEAD, POST"),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        if method != "HEAD":
            problem(answer, 405, "method-not-allowed")


def test_head_is_get_without_the_body(client: Client) -> None:
    path = f"/v1/models/{post_model(client).json()['id']}"
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["etag"], head.headers["content-length"]) == (get.headers["etag"], str(len(get.content)))


def test_what_nobody_foresaw_is_logged_under_the_request_id(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "add_model", lambda *_, **__: 1 / 0)
    with caplog.at_level(logging.ERROR, logger="app"):
        answer = post_model(client)
    document = problem(answer, 500, "internal-error")
    request_id = answer.headers["x-request-id"]
    assert request_id in document["detail"]
    assert "division" not in answer.text
    assert request_id in caplog.text and "ZeroDivisionError" in caplog.text


def test_every_answer_has_another_request_id(client: Client) -> None:
    assert len({client.get(path).headers["x-request-id"] for path in ("/livez", "/livez", "/nothing", "/docs")}) == 4


def test_a_database_that_is_gone(client: Client, app: FastAPI) -> None:
    gone = Database("postgresql+psycopg://postgres@127.0.0.1:1/none")
    app.state.service.__dict__["database"], there = TenantDatabase(gone), app.state.service.database
    try:
        for answer in (client.get("/v1/models"), client.post("/v1/uploads", content=b"data")):
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert client.get("/livez").status_code == 200
    finally:
        app.state.service.__dict__["database"] = there
        gone.close()


def test_every_problem_has_its_page(client: Client) -> None:
    del client.headers["Authorization"]
    listing = client.get("/problems").text
    for one in Problem:
        page = client.get(f"/problems/{one.slug}")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert one.slug in page.text and str(one.status) in page.text
        assert f'href="/problems/{one.slug}"' in listing
