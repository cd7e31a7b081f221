"""Inputs in the request itself, and requests that wait for the answer."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from httpx import Client, Response

from models.bell import Bell
from models.database import Database
from models.principal import DEFAULT_TENANT
from models.repositories import keys, shards
from models.repositories.chunks import ChunkCounts
from models.tables import Dataset, Upload
from tests.app import rows
from tests.app.calls import problem, ready_dataset, ready_model
from tests.app.conftest import KEY, Server
from tests.app.test_predictions import predicted
from workers.intake.read_dataset import read_dataset

SHAPE = (2, 1, 8, 8)
GRID = np.random.default_rng(0).integers(0, 256, SHAPE)
INPUTS: dict[str, np.ndarray] = {
    "8-bit": (GRID / np.float32(255)).astype(np.float32),
    "whole": GRID.astype(np.float32),
    "0 and 1": (GRID % 2).astype(np.float32),
    "any": np.random.default_rng(1).uniform(0, 1, SHAPE),  # float64: rounded like an upload's
    "nearly 8-bit": np.nextafter((GRID / np.float32(255)).astype(np.float32), np.float32(0.5)),
}
PREDICTION = {"kind": "prediction", "sigma": 0.25}


def asked(client: Client, model_id: str, inputs: Any, *, prefer: str = "", **fields: Any) -> Response:
    body = {"model_id": model_id, "inputs": inputs, "method": PREDICTION} | fields
    return client.post("/v1/certifications", json=body, headers={"Prefer": prefer} if prefer else {})


def wide_model(client: Client, database: Database) -> str:
    """The id of a model whose range is 0 to 255."""
    upload = client.post("/v1/uploads", content=b"\x08\x0a\x12\x07wide").json()["id"]
    declared = {"shape": [1, 8, 8], "range": [0, 255], "mean": 0, "std": 255}
    model_id: str = client.post("/v1/models", json={"upload_id": upload, "name": "wide", "input": declared}).json()[
        "id"
    ]
    rows.accept(database, model_id)
    return model_id


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("labels", [None, [7, 7]])
def test_they_become_the_data_set_that_an_upload_would_be(
    client: Client,
    database: Database,
    app: FastAPI,
    bells: list[Bell],
    tmp_path: Path,
    name: str,
    labels: list[int] | None,
) -> None:
    """Against intake itself, which reads the file that was stored, and against numpy's own file of the same arrays."""
    model_id = wide_model(client, database)
    fields: dict[str, Any] = {} if labels is None else {"labels": labels}
    answer = asked(client, model_id, INPUTS[name].tolist(), **fields)
    assert answer.status_code == 202, answer.text
    dataset_id = answer.json()["dataset_id"]
    assert answer.json()["subset"] == {"start": 0, "stop": 2, "step": 1}
    blobs = app.state.service.blobs
    with database.read() as session:
        row = session.get_one(Dataset, dataset_id)
        assert row.state == "ready" and row.summary is not None
        stored = blobs.path(row.upload.sha256)
    np.savez(tmp_path / "x.npz", x=INPUTS[name], **({} if labels is None else {"y": np.array(labels)}))  # type: ignore[arg-type]
    for number, file in enumerate((stored, tmp_path / "x.npz")):
        (tmp_path / str(number)).mkdir()
        facts = read_dataset(file, tmp_path / str(number), max_bytes=2**20)
        dtype = facts.pop("dtype")
        assert dtype == ("float32" if number == 0 else str(INPUTS[name].dtype))
        said = {key: row.summary[key] for key in facts}
        assert said == facts
        x = (tmp_path / str(number) / "x.npy").read_bytes()
        assert blobs.path(row.summary["x_blob"]).read_bytes() == x
        if labels is not None:
            assert blobs.path(row.summary["y_blob"]).read_bytes() == (tmp_path / str(number) / "y.npy").read_bytes()

    again = asked(client, model_id, INPUTS[name].tolist(), **fields).json()
    assert again["dataset_id"] == dataset_id and again["id"] != answer.json()["id"]
    assert [item["id"] for item in client.get("/v1/datasets").json()["items"]] == [dataset_id]
    with database.read() as session:
        assert len(session.query(Upload).all()) == 2  # of the model, of the inputs
    assert [bell.noun for bell in bells] == ["model", "certification", "certification"]


def test_what_does_not_fit_says_where(client: Client, database: Database) -> None:
    model_id = ready_model(client, database)
    good = np.zeros(SHAPE).tolist()

    def spoilt(value: Any, *place: int) -> Any:
        inputs = np.zeros(SHAPE).tolist()
        inner = inputs
        for index in place[:-1]:
            inner = inner[index]
        inner[place[-1]] = value
        return inputs

    for inputs, pointer, words in (
        (spoilt(1.5, 1, 0, 3, 2), "/inputs/1/0/3/2", "1.5 as float32, outside the model's range [0, 1]"),
        (spoilt(-1e-9, 0, 0, 0, 0), "/inputs/0/0/0/0", "outside"),
        (spoilt(float("nan"), 0, 0, 7, 7), "/inputs/0/0/7/7", "nan"),
        (spoilt(float("inf"), 0, 0, 7, 7), "/inputs/0/0/7/7", "inf"),
        (spoilt(10**400, 0, 0, 7, 6), "/inputs/0/0/7/6", "inf"),
        (spoilt(1e300, 0, 0, 7, 6), "/inputs/0/0/7/6", "inf"),
        (spoilt(True, 1, 0, 0, 1), "/inputs/1/0/0/1", "no number"),
        (spoilt("0.5", 1, 0, 0, 1), "/inputs/1/0/0/1", "no number"),
        (spoilt([0.5], 1, 0, 0, 1), "/inputs/1/0/0/1", "no number"),
        (spoilt(None, 1, 0, 0), "/inputs/1/0/0", "no list"),
        (spoilt([0.0] * 7, 1, 0, 5), "/inputs/1/0/5", "a list of 7; the model's input has 8"),
        (spoilt([[0.0] * 8] * 9, 1, 0), "/inputs/1/0", "a list of 9"),
        (good[0], "/inputs", "one input; give a list of inputs"),
        (good[0][0], "/inputs/0", "a list of 8; the model's input has 1 here"),
        (np.zeros((2, 8, 8, 1)).tolist(), "/inputs/0", "x = x.transpose(0, 3, 1, 2)"),
        ([], "/inputs", "no input"),
        ("zero", "/inputs", "list"),
    ):
        # json.dumps writes NaN and Infinity as Python reads them; httpx refuses to
        answer = post_raw(client, model_id, inputs)
        document = problem(answer, 422, "invalid-request")
        assert document["errors"][0]["pointer"] == pointer, inputs
        assert document["detail"].startswith(f"{pointer}: ") and words in document["detail"]
    for fields, pointer in (
        ({"labels": [1]}, "/labels"),
        ({"labels": [1, -1]}, "/labels/1"),
        ({"labels": [1, 1.0]}, "/labels/1"),
    ):
        document = problem(asked(client, model_id, good, **fields), 422, "invalid-request")
        assert document["errors"][0]["pointer"] == pointer
    problem(asked(client, model_id, good, labels=[1, 10]), 422, "labels-out-of-range")
    problem(post_raw(client, model_id, [[[[0.0] * 8] * 8]] * 9000), 413, "request-too-large")
    problem(
        client.post("/v1/certifications", content=b'{"inputs": ' + b"[" * 200_000, headers=JSON), 400, "malformed-json"
    )
    dataset_id = ready_dataset(client, database)
    for body, words in (
        ({"dataset_id": dataset_id, "inputs": good}, "not both"),
        ({}, "one of them"),
        ({"dataset_id": dataset_id, "labels": [1]}, "belong to inputs"),
    ):
        answer = client.post("/v1/certifications", json={"model_id": model_id, "method": PREDICTION} | body)
        assert words in problem(answer, 422, "invalid-request")["detail"]
    waiting = client.post(
        "/v1/models",
        json={
            "upload_id": client.post("/v1/uploads", content=b"\x08\x0a\x12\x07third").json()["id"],
            "name": "third",
            "input": {"shape": [1, 8, 8], "range": [0, 1], "mean": 0, "std": 1},
        },
    ).json()["id"]
    problem(asked(client, waiting, good), 409, "not-ready")
    problem(asked(client, "mdl_" + "0" * 32, good), 422, "invalid-request")
    assert len(client.get("/v1/datasets").json()["items"]) == 1  # nothing was registered


JSON = {"Content-Type": "application/json"}


def post_raw(client: Client, model_id: str, inputs: Any) -> Response:
    """With numbers that are not JSON's, as other clients send them."""
    import json

    body = json.dumps({"model_id": model_id, "inputs": inputs, "method": PREDICTION})
    return client.post("/v1/certifications", content=body.encode(), headers=JSON)


@pytest.mark.parametrize(
    ("prefer", "waits"), [("wait=30", True), ('respond-async, WAIT = "30"; x', True), ("wait", False)]
)
def test_a_request_may_wait_for_the_answer(
    client: Client, database: Database, bells: list[Bell], prefer: str, waits: bool
) -> None:
    model_id = ready_model(client, database)
    heard = threading.Event()
    bells_append = database.ring

    def ring(bell: Bell) -> None:
        bells_append(bell)
        if bell.noun == "certification":
            heard.set()

    database.ring = ring

    def work() -> None:
        assert heard.wait(30)
        job_id = client.get("/v1/certifications").json()["items"][0]["id"]
        claim = rows.begin(database, job_id)
        result = predicted(0, None, 3, 1e-9)
        with database.write() as session:
            chunk = ChunkCounts(0, "predict", 0, result.detail["counts"])
            shards.record(session, claim, [chunk], [result], seconds=60)
        rows.finish(database, claim)

    worker = threading.Thread(target=work)
    worker.start()
    answer = asked(client, model_id, np.zeros((1, 1, 8, 8)).tolist(), prefer=prefer)
    worker.join()
    job = answer.json()
    assert answer.headers["location"] == f"/v1/certifications/{job['id']}"
    if not waits:
        assert (answer.status_code, "results" in job) == (202, False)
        return
    assert (answer.status_code, job["state"], "retry-after" in answer.headers) == (200, "succeeded", False)
    assert job["results"] == client.get(f"{answer.headers['location']}/results").json()
    assert job["results"]["items"][0]["prediction"] == 3
    assert {key: job[key] for key in job if key != "results"} == client.get(answer.headers["location"]).json()


def test_a_wait_in_vain_ends_as_without(client: Client, database: Database) -> None:
    answer = asked(client, ready_model(client, database), np.zeros((1, 1, 8, 8)).tolist(), prefer="wait=1")
    assert (answer.status_code, answer.json()["state"], answer.headers["retry-after"]) == (202, "queued", "1")


def test_a_server_that_ends_answers_what_it_knows(app: FastAPI, database: Database) -> None:
    heard = threading.Event()
    database.ring = lambda bell: heard.set() if bell.noun == "certification" else None
    with database.write() as session:
        keys.add(session, DEFAULT_TENANT, "test", KEY)
    server = Server(app)
    server.config.timeout_graceful_shutdown = 1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert server.ready.wait(30)
        url, headers = f"http://127.0.0.1:{listener.getsockname()[1]}", {"Authorization": f"Bearer {KEY}"}
        with Client(base_url=url, timeout=60, headers=headers) as client, ThreadPoolExecutor(1) as pool:
            model_id = ready_model(client, database)
            waiting = pool.submit(asked, client, model_id, np.zeros((1, 1, 8, 8)).tolist(), prefer="wait=60")
            assert heard.wait(30)
            server.should_exit = True
            answer = waiting.result(30)
        thread.join(30)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
