"""What the API answers while the disk of the data folder is full, and before that."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Client

from models.database import Database
from models.settings import Settings
from tests.app.calls import INPUT, certification, problem, upload
from tests.disk import Disk

pytestmark = pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)  # it is about the blobs

MEBIBYTE = 2**20
IDS = ("model_id", "dataset_id")


@pytest.fixture
def app(disk: Disk, app: FastAPI) -> FastAPI:
    return app


def question(**fields: Any) -> dict[str, Any]:
    return {"method": {"kind": "prediction", "sigma": 0.25}, **fields}


def test_what_needs_space_is_refused_and_the_rest_is_answered(
    client: Client, database: Database, settings: Settings, disk: Disk
) -> None:
    certification_id = certification(client, database)
    model_id, dataset_id = (client.get(f"/v1/certifications/{certification_id}").json()[name] for name in IDS)
    upload_id = upload(client, b"more")
    before = sorted(settings.blob_dir.rglob("*"))
    calls: dict[str, dict[str, Any]] = {
        "/v1/uploads": {"content": b"data"},
        "/v1/models": {"json": {"upload_id": upload_id, "name": "m", "input": INPUT}},
        "/v1/datasets": {"json": {"upload_id": upload_id, "name": "d"}},
        "/v1/certifications": {"json": question(model_id=model_id, dataset_id=dataset_id)},
    }
    disk.fill()
    for path, request in calls.items():
        document = problem(client.post(path, **request), 507, "storage-full")
        assert document["detail"].startswith("0 bytes are free where the service keeps its data"), path
        assert "Free space" in document["remedy"]
    inputs = question(model_id=model_id, inputs=[[[[0.5] * 8] * 8]])
    problem(client.post("/v1/certifications", json=inputs), 507, "storage-full")
    assert sorted(settings.blob_dir.rglob("*")) == before
    for path in ("models", f"models/{model_id}", "datasets", "certifications", f"certifications/{certification_id}"):
        assert client.get(f"/v1/{path}").status_code == 200
    ready = client.get("/readyz").json()
    assert ready["parts"]["storage"].startswith("0 bytes are free")

    disk.empty()  # the remedy
    assert client.post("/v1/uploads", content=b"data").status_code == 201
    assert client.post("/v1/certifications", json=inputs).status_code == 202
    assert client.get("/readyz").json()["parts"]["storage"] == "ok"


def test_an_upload_ends_where_the_reserve_begins_and_leaves_nothing(client: Client, settings: Settings) -> None:
    def blocks() -> Iterator[bytes]:  # without Content-Length
        for _ in range(16):
            yield bytes(MEBIBYTE)

    problem(client.post("/v1/uploads", content=blocks()), 507, "storage-full")
    document = problem(client.post("/v1/uploads", content=bytes(16 * MEBIBYTE)), 507, "storage-full")
    assert f"{16 * MEBIBYTE} are needed" in document["detail"]
    assert [path for path in settings.blob_dir.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_amid_an_upload(client: Client, settings: Settings, disk: Disk) -> None:
    def blocks() -> Iterator[bytes]:
        yield bytes(MEBIBYTE)
        disk.fill()
        yield bytes(MEBIBYTE)

    problem(client.post("/v1/uploads", content=blocks()), 507, "storage-full")
    assert [path for path in settings.blob_dir.rglob("*") if path.is_file()] == []
