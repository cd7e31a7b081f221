"""``Prefer: wait=N``, and ``ended``, of everything that takes time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from httpx import Client

from app.waiting import LONGEST_WAIT
from models.database import Database
from models.states import TERMINAL
from tests.app import rows
from tests.app.calls import certification, post_dataset, post_model
from tests.service import until

Begun = tuple[str, Callable[[], object]]  # a path, and what ends what is there


def model(client: Client, database: Database) -> Begun:
    path = post_model(client).headers["location"]
    return path, lambda: rows.accept(database, path.rpartition("/")[2])


def dataset(client: Client, database: Database) -> Begun:
    path = post_dataset(client).headers["location"]
    why = {"title": "no", "detail": "no"}
    return path, lambda: rows.reject(database, path.rpartition("/")[2], why)


def job(client: Client, database: Database) -> Begun:
    job_id = certification(client, database)
    path = f"/v1/certifications/{job_id}"
    return path, lambda: client.post(f"{path}/cancel").raise_for_status()


NOUNS = pytest.mark.parametrize("begin", [model, dataset, job], ids=lambda begin: begin.__name__)


@NOUNS
def test_a_get_waits_for_the_end(client: Client, database: Database, begin: Callable[..., Begun]) -> None:
    path, end = begin(client, database)
    assert client.get(path).json()["ended"] is False
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, path, headers={"Prefer": f"wait={LONGEST_WAIT}"})
        until(lambda: waiting.running())
        end()
        answer = waiting.result(LONGEST_WAIT / 2)  # so it did not wait to its time's end
    document = answer.json()
    assert document["ended"] is True and document["state"] in TERMINAL
    assert answer.headers["preference-applied"] == f"wait={LONGEST_WAIT}"
    assert document == client.get(path).json()
    assert client.get(path, headers={"If-None-Match": answer.headers["etag"], "Prefer": "wait=9"}).status_code == 304


@NOUNS
def test_a_wait_in_vain_answers_what_there_is(client: Client, database: Database, begin: Callable[..., Begun]) -> None:
    path, _ = begin(client, database)
    started = time.monotonic()
    answer = client.get(path, headers=[("Prefer", "respond-async"), ("Prefer", "wait=1")])
    assert time.monotonic() - started >= 1
    assert (answer.status_code, answer.json()["ended"], answer.headers["preference-applied"]) == (200, False, "wait=1")
    assert "retry-after" in answer.headers
    for prefer in ({}, {"Prefer": "wait"}, {"Prefer": "wait=-1"}):
        assert "preference-applied" not in client.get(path, headers=prefer).headers


def test_an_id_that_is_none_is_said_at_once(client: Client) -> None:
    for path in ("models/mdl_", "datasets/dat_", "certifications/cert_"):
        answer = client.get(f"/v1/{path}{'0' * 32}", headers={"Prefer": f"wait={LONGEST_WAIT}"}, timeout=10)
        assert answer.status_code == 404


def test_whatever_has_a_state_says_whether_it_has_ended(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    stateful = {
        name: schema["properties"] for name, schema in schemas.items() if "state" in schema.get("properties", {})
    }
    for part in ("BatchRow", "Member"):  # of a batch, which says it for all
        del stateful[part]
    assert {"ModelOut", "DatasetOut", "CertificationOut", "CertificationEnded", "ShardOut", "BatchOut"} == set(stateful)
    assert all("terminal" in properties["ended"]["description"] for properties in stateful.values())
