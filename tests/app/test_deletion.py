"""DELETE: refused with what needs it, or with all that does; nothing of it is there from then on."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Client

from models.database import Database
from models.housekeeping import tidy
from models.repositories import shards
from models.repositories.leases import LostClaim
from tests.app import calls, rows
from tests.app.calls import certification, problem
from tests.disk import Disk

MEBIBYTE = 2**20


def parts(client: Client, job: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model and the data set of a certification."""
    document = client.get(f"/v1/certifications/{job}").json()
    return (
        client.get(f"/v1/models/{document['model_id']}").json(),
        client.get(f"/v1/datasets/{document['dataset_id']}").json(),
    )


def test_what_is_needed_is_refused_with_what_needs_it(client: Client, database: Database) -> None:
    job = certification(client, database)
    model, dataset = parts(client, job)
    others = [
        calls.post_certification(client, model["id"], dataset["id"], subset={"stop": 1}).json()["id"] for _ in "ab"
    ]
    jobs: dict[str, Any] = {"noun": "certification", "count": 3, "ids": [job, *others]}
    for path, said, needed_by in (
        (f"models/{model['id']}", "3 certifications need mdl_", [jobs]),
        (f"datasets/{dataset['id']}", "3 certifications need dat_", [jobs]),
        (
            f"uploads/{model['upload_id']}",
            "1 model and 3 certifications need upl_",
            [{"noun": "model", "count": 1, "ids": [model["id"]]}, jobs],
        ),
        (
            f"uploads/{dataset['upload_id']}",
            "1 data set and 3 certifications need upl_",
            [{"noun": "data set", "count": 1, "ids": [dataset["id"]]}, jobs],
        ),
    ):
        document = problem(client.delete(f"/v1/{path}"), 409, "still-needed")
        assert document["detail"].startswith(said)
        assert document["needed_by"] == needed_by
        assert "cascade=true" in document["remedy"]
    for row_id in jobs["ids"]:  # the remedy
        answer = client.delete(f"/v1/certifications/{row_id}")
        assert answer.json() == {"id": row_id, "deleted": [{"noun": "certification", "count": 1, "ids": [row_id]}]}
        problem(client.get(f"/v1/certifications/{row_id}"), 404, "not-found")
        problem(client.delete(f"/v1/certifications/{row_id}"), 404, "not-found")
    for path in (f"models/{model['id']}", f"uploads/{model['upload_id']}", f"datasets/{dataset['id']}"):
        assert client.delete(f"/v1/{path}").status_code == 200
    for noun in ("models", "datasets", "certifications"):
        assert client.get(f"/v1/{noun}").json()["items"] == []


def test_with_cascade_goes_what_runs_too(client: Client, database: Database, app: FastAPI) -> None:
    job = certification(client, database)
    model, dataset = parts(client, job)
    claim = rows.begin(database, job)
    answer = client.delete(f"/v1/uploads/{model['upload_id']}", params={"cascade": True})
    assert answer.status_code == 200, answer.text
    assert {one["noun"]: one["ids"] for one in answer.json()["deleted"]} == {
        "upload": [model["upload_id"]],
        "model": [model["id"]],
        "certification": [job],
    }
    with pytest.raises(LostClaim), database.write() as session:  # the worker stops
        shards.record(session, claim, [], [], seconds=9)
    for path in (f"certifications/{job}", f"certifications/{job}/results", f"models/{model['id']}"):
        problem(client.get(f"/v1/{path}"), 404, "not-found")
    question = {"upload_id": model["upload_id"], "name": "m", "input": calls.INPUT}
    problem(client.post("/v1/models", json=question), 422, "invalid-request")
    problem(calls.post_certification(client, model["id"], dataset["id"]), 422, "invalid-request")
    assert tidy(database, app.state.service.blobs, None).removed > 0
    assert client.get(f"/v1/datasets/{dataset['id']}").json() == dataset


def test_a_batch_needs_its_certifications(client: Client, database: Database, app: FastAPI) -> None:
    """Without one of them it would say something else of how it ended."""
    models = [calls.ready_model(client, database, calls.ONNX + bytes([number])) for number in range(2)]
    dataset = calls.ready_dataset(client, database)
    question: dict[str, Any] = {"model_ids": models, "dataset_ids": [dataset], "methods": [{"kind": "lipschitz"}]}
    question |= {"subset": {"stop": 1}}
    batch = client.post("/v1/batches", json=question).json()["id"]
    (first, second) = [row["certification_id"] for row in client.get(f"/v1/batches/{batch}/table").json()["items"]]
    client.post(f"/v1/certifications/{first}/cancel")
    claim = rows.begin(database, second)
    rows.record(database, claim, [rows.bounded(0, 3, 3, 0.5)], rows.report())
    rows.finish(database, claim)
    before = client.get(f"/v1/batches/{batch}").json()
    assert (before["state"], before["states"]) == ("cancelled", {"cancelled": 1, "succeeded": 1})
    needed_by = [{"noun": "batch", "count": 1, "ids": [batch]}]
    document = problem(client.delete(f"/v1/certifications/{first}"), 409, "still-needed")
    assert (document["detail"], document["needed_by"]) == (f"1 batch needs {first}", needed_by)
    document = problem(client.delete(f"/v1/models/{models[0]}"), 409, "still-needed")
    assert document["detail"].startswith("1 certification and 1 batch need mdl_")
    assert document["needed_by"][1:] == needed_by
    assert client.get(f"/v1/batches/{batch}").json() == before

    def deleted(path: str, **query: bool) -> dict[str, list[str]]:
        answer = client.delete(f"/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return {one["noun"]: one["ids"] for one in answer.json()["deleted"]}

    both = {"certification": [first], "batch": [batch]}
    assert deleted(f"models/{models[0]}", cascade=True) == both | {"model": [models[0]]}
    problem(client.get(f"/v1/batches/{batch}"), 404, "not-found")
    assert client.get(f"/v1/certifications/{second}").json()["state"] == "succeeded"  # it stands for itself
    assert tidy(database, app.state.service.blobs, None).removed > 0
    again = client.post("/v1/batches", json=question | {"model_ids": models[1:]}).json()["id"]
    assert deleted(f"batches/{again}") == {"batch": [again]}  # the remedy
    assert again not in client.get("/v1/batches").text
    assert len(client.get("/v1/certifications").json()["items"]) == 2
    last = client.post("/v1/batches", json=question | {"model_ids": models[1:]}).json()["id"]
    assert last != again
    assert deleted(f"batches/{last}", cascade=True).keys() == {"batch", "certification"}
    assert deleted(f"certifications/{second}") == {"certification": [second]}


def test_what_was_deleted_is_taken_anew(client: Client, database: Database) -> None:
    first = calls.ready_model(client, database)
    assert client.delete(f"/v1/models/{first}").status_code == 200
    again = calls.post_model(client)
    assert (again.status_code, again.json()["state"]) == (202, "validating")
    assert again.json()["id"] != first


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)  # it is about the blobs
def test_deleting_makes_room_for_uploads(disk: Disk, client: Client, database: Database, app: FastAPI) -> None:
    """Up to its reserve the disk is filled by uploads alone; what is deleted goes all the same."""
    sent: list[str] = []
    while (answer := client.post("/v1/uploads", content=len(sent).to_bytes(1) * MEBIBYTE)).status_code == 201:
        sent.append(answer.json()["id"])
    problem(answer, 507, "storage-full")
    assert len(sent) > 3
    for upload_id in sent:
        assert client.delete(f"/v1/uploads/{upload_id}").status_code == 200
    blobs = app.state.service.blobs
    assert tidy(database, blobs, None)[1:] == (len(sent), 0, 0)  # who announced a blob may be about to name it
    assert tidy(database, blobs, None, grace=timedelta(0))[1:] == (0, len(sent), len(sent) * MEBIBYTE)
    assert client.post("/v1/uploads", content=bytes(MEBIBYTE)).status_code == 201
