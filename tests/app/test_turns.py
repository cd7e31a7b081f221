"""Priority and precedence as they are asked for; and inputs that failed, wherever figures are."""

from typing import Any

import pytest
from httpx import Client
from sqlalchemy import select

from models.database import Database
from models.problems import Problem
from models.repositories import failing, leases, shards
from models.tables import Certification, Key
from tests import factories
from tests.app import rows
from tests.app.calls import certification, post_certification, problem, ready_dataset, ready_model

CAUSE = Problem.WORKER_LOST.document("It was killed by SIGSEGV while sampling.")
SMALL = {"kind": "smoothing", "sigma": 0.25, "n": 1000}
LARGE = {"kind": "smoothing", "sigma": 0.25, "n": 1_000_000}


@pytest.mark.parametrize(
    ("method", "asked", "headers", "priority", "interactive"),
    [
        (SMALL, {}, {}, 5, False),
        (SMALL, {"priority": 9}, {}, 9, False),
        (SMALL, {"priority": 0, "interactive": True}, {}, 0, True),
        (SMALL, {}, {"Prefer": "wait=1"}, 5, True),
        (SMALL, {"interactive": False}, {"Prefer": "wait=1"}, 5, False),
        (LARGE, {"interactive": True}, {}, 5, False),
    ],
)
def test_small_ones_that_are_waited_for_are_interactive(
    client: Client,
    database: Database,
    method: dict[str, Any],
    asked: dict[str, Any],
    headers: dict[str, str],
    priority: int,
    interactive: bool,
) -> None:
    model_id, dataset_id = ready_model(client, database), ready_dataset(client, database)
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": method, "subset": {"stop": 4}} | asked
    job = client.post("/v1/certifications", json=body, headers=headers).json()
    assert (job["priority"], job["interactive"]) == (priority, interactive)
    with database.read() as session:
        assert session.get_one(Certification, job["id"]).key_id in set(session.scalars(select(Key.id)))


@pytest.mark.parametrize("priority", [-1, 10, 1.5, "high"])
def test_a_priority_is_from_0_to_9(client: Client, database: Database, priority: object) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    said = problem(post_certification(client, *ids, priority=priority), 422, "invalid-request")
    assert "priority" in str(said["errors"])


def test_an_input_that_failed_counts_as_not_certified(client: Client, database: Database) -> None:
    job_id = certification(client, database, inputs=2)
    with database.write() as session:
        row = session.get_one(Certification, job_id)
        row.shard_inputs = 1
        factories.cut(session, job_id)
    for _ in range(2):
        with database.write() as session:
            bell = next(bell for bell in leases.unattended(session) if bell.noun == "shard")
            claim = leases.claim(session, bell.noun, bell.id, worker="w", seconds=60)
            assert claim is not None
            [index] = shards.begin(session, claim).indices
        if index == 0:
            rows.record(database, claim, [rows.smoothed(0, 3, 3, 0.5)])
            rows.finish(database, claim)
        else:
            with database.write() as session:
                assert failing.died(session, claim, CAUSE, given_up=CAUSE, labels={1: 3}, most=1) == 1
    with database.write() as session:
        factories.end(session, job_id)

    job = client.get(f"/v1/certifications/{job_id}").json()
    assert (job["state"], job["partial"], job["failed_indices"]) == ("succeeded", True, [1])
    assert job["progress"]["fraction"] == 1.0
    said = job["summary"]
    assert (said["inputs"], said["failed"], said["abstained"], said["complete"]) == (2, 1, 0, True)
    assert (said["accuracy"], said["median_radius"]) == (0.5, 0.25)
    [whole, failed] = client.get(f"/v1/certifications/{job_id}/results").json()["items"]
    assert (whole["abstained"], whole.get("failed")) == (False, None)
    assert (failed["failed"], failed["problem"], failed["radius"], failed["label"]) == (True, CAUSE, None, 3)
    curve = client.get(f"/v1/certifications/{job_id}/curve", params={"radius": 0.1}).json()
    assert (curve["inputs"], curve["failed"], curve["complete"]) == (2, 1, True)
    assert curve["at"]["certified_accuracy"] == 0.5
    assert curve["points"][0] == {"radius": 0.0, "certified_accuracy": 0.5}


def test_what_is_whole_is_not_partial(client: Client, database: Database) -> None:
    job = client.get(f"/v1/certifications/{certification(client, database)}").json()
    assert (job["partial"], job["failed_indices"]) == (False, [])
