"""Who is there, as the API tells it; and why something waits."""

from typing import Any

import pytest
from httpx import Client

from models.base import now
from models.database import Database
from models.repositories import keys, presence
from tests.app import calls, rows
from tests.models.test_presence import WORKER


def beat(database: Database, name: str, **values: Any) -> None:
    with database.write() as session:
        presence.beat(session, name, seconds=60, **WORKER | values)


def test_workers_are_listed_with_what_they_do(client: Client, database: Database) -> None:
    assert client.get("/v1/workers").json() == {"items": []}
    model = calls.post_model(client).json()["id"]
    work = {"noun": "model", "id": model, "job": model, "log": f"{model}/1", "since": now().isoformat(), "doing": None}
    beat(database, "one/1", work=work, device="cpu", memory=5, memory_total=9, samples_per_second=1.5)
    beat(database, "two/2", queues="certify")
    one, two = client.get("/v1/workers").json()["items"]
    assert (one["name"], one["queues"], one["memory"], one["samples_per_second"]) == (
        "one/1",
        ["certify", "intake"],
        5,
        1.5,
    )
    assert (one["work"]["kind"], one["work"]["id"], one["work"]["log"]) == ("model", model, f"{model}/1")
    assert (two["name"], two["queues"], two["work"]) == ("two/2", ["certify"], None)


def test_of_another_tenants_work_its_kind_alone_is_told(client: Client, database: Database) -> None:
    model = calls.post_model(client).json()["id"]
    work = {"noun": "model", "id": model, "job": model, "log": f"{model}/1", "doing": "x", "since": now().isoformat()}
    beat(database, "one/1", work=work)
    with database.write() as session:
        keys.add(session, "stranger", "stranger", "radii_stranger")
    answer = client.get("/v1/workers", headers={"Authorization": "Bearer radii_stranger"})
    (one,) = answer.json()["items"]
    assert {name: value for name, value in one["work"].items() if value is not None} == {
        "kind": "model",
        "since": one["work"]["since"],
    }
    assert model not in answer.text


def test_what_waits_says_why(client: Client, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.kept.FRESH_SECONDS", 0.0)  # why is of other rows than the one that is asked about
    model, dataset = calls.ready_model(client, database), calls.ready_dataset(client, database)
    job = calls.post_certification(client, model, dataset, {"kind": "lipschitz"}, subset={"stop": 1}).json()
    path = f"/v1/certifications/{job['id']}"
    assert client.get(path).json()["waiting"] == "no worker is alive"
    beat(database, "one/1")
    answer = client.get(path)
    assert answer.json()["waiting"] == "next in line"
    second = calls.post_certification(client, model, dataset, {"kind": "lipschitz"}, subset={"stop": 2}).json()
    assert client.get(f"/v1/certifications/{second['id']}").json()["waiting"] == "1 job ahead"
    rows.begin(database, job["id"])
    assert client.get(path, headers={"If-None-Match": answer.headers["ETag"]}).json()["waiting"] is None
    sent = calls.post_model(client, name="second", labels=["a", "b"]).json()
    assert client.get(f"/v1/models/{sent['id']}").json()["waiting"] == "next in line"
    assert client.get(f"/v1/models/{model}").json()["waiting"] is None
    assert client.get(f"/v1/datasets/{dataset}").json()["waiting"] is None
