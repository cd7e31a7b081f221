"""What Prometheus reads: figures of requests by route, and of jobs and workers from the database."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Client
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.metrics import FromDatabase
from models import metrics
from models.database import Database
from models.repositories import presence
from models.repositories.figures import Figures
from models.settings import Settings
from tests.app import calls, rows
from tests.app.conftest import KEY
from tests.models.test_presence import WORKER

HELD = {"Authorization": f"Bearer {KEY}"}


def scraped(client: Client, **headers: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def beat(database: Database, name: str, **values: Any) -> None:
    with database.write() as session:
        presence.beat(session, name, seconds=60, **WORKER | values)


def test_jobs_and_workers_are_told_of(client: Client, database: Database) -> None:
    model, dataset = calls.ready_model(client, database), calls.ready_dataset(client, database)
    for stop in (1, 2, 3):
        body = {"kind": "lipschitz"}
        job = calls.post_certification(client, model, dataset, body, subset={"stop": stop}).json()["id"]
    claim = rows.begin(database, job)
    rows.fail(
        database,
        rows.begin(
            database,
            calls.post_certification(client, model, dataset, {"kind": "lipschitz"}, subset={"stop": 4}).json()["id"],
        ),
        {"type": "/problems/stalled", "detail": "so"},
    )
    registry = CollectorRegistry()
    Counter("radii_attempts", "Attempts.", ["kind", "outcome"], registry=registry).labels("shard", "done").inc(3)
    beat(database, "one/1", device="cpu", memory=5, memory_total=9, figures=metrics.written(registry))
    beat(database, "two/2", queues="certify", work={"noun": "shard", "job": job}, samples_per_second=7.5)
    found = scraped(client)
    assert found["radii_jobs"][labels(kind="certification", state="queued")] == 2
    assert found["radii_jobs"][labels(kind="certification", state="running")] == 1
    assert found["radii_jobs"][labels(kind="model", state="validating")] == 0
    assert found["radii_jobs_held"][labels(kind="shard", state="running")] == 1
    assert 0 < found["radii_oldest_seconds"][labels(kind="shard", state="running")] < 60
    assert found["radii_waiting"] == {labels(queue="intake"): 0, labels(queue="certify"): 2}
    assert found["radii_failed"] == {labels(kind="certification", problem="stalled"): 1}
    assert found["radii_workers"] == {labels(queue="intake"): 1, labels(queue="certify"): 2}
    assert found["radii_worker_busy"] == {labels(worker="one/1"): 0, labels(worker="two/2"): 1}
    assert found["radii_worker_memory_bytes"] == {labels(worker="one/1"): 5}
    assert found["radii_worker_samples_per_second"] == {labels(worker="two/2"): 7.5}
    assert found["radii_attempts_total"] == {labels(kind="shard", outcome="done", worker="one/1"): 3}
    assert found["radii_database_up"] == {(): 1}
    assert claim.job == job


def test_requests_are_told_of_by_their_route_never_by_their_path(client: Client) -> None:
    before = scraped(client)["radii_http_request_seconds_count"]
    asked = [("GET", "/v1/models/mdl_" + "0" * 32, "/v1/models/{model_id}", "404")]
    asked += [("GET", "/v1/keys", "/v1/keys", "200"), ("HEAD", "/v1/keys", "/v1/keys", "200")]
    asked += [("GET", "/v1/nothing/secret", "none", "404"), ("BREW", "/v1/keys", "/v1/keys", "405")]
    for method, path, _, status in asked:
        assert client.request(method, path).status_code == int(status)
    after = scraped(client)["radii_http_request_seconds_count"]
    new = {dict(key)["route"] for key in after}
    assert not any("secret" in route or "0000" in route for route in new)
    for method, _, route, status in asked:
        key = labels(method=method if method != "BREW" else "other", route=route, status=status)
        assert after[key] == before.get(key, 0) + 1, key


def test_who_may_look(client: Client, app: FastAPI) -> None:
    alone = Client(base_url=client.base_url, verify=False)
    assert alone.get("/metrics").status_code == 200  # from this machine
    for proxied in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"}):
        calls.problem(alone.get("/metrics", headers=proxied), 401, "unauthenticated")
        assert alone.get("/metrics", headers=proxied | HELD).status_code == 200
    wrong = {"Authorization": "Bearer radii_wrong"}
    calls.problem(alone.get("/metrics", headers=wrong), 401, "unauthenticated")  # who shows a key is told of a bad one
    settings = app.state.service.settings
    object.__setattr__(app.state.service, "settings", settings.model_copy(update={"metrics_open": True}))
    assert alone.get("/metrics", headers={"Via": "1.1 proxy"}).status_code == 200
    alone.close()


def test_openmetrics_is_given_to_who_asks_for_it(client: Client) -> None:
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n") and answer.text.count("# EOF") == 1


def test_a_database_that_is_away_leaves_the_rest() -> None:
    def look() -> Figures:
        raise OSError("away")

    (up,) = FromDatabase(look).collect()
    assert [(sample.name, sample.value) for sample in up.samples] == [("radii_database_up", 0)]


def test_the_database_is_asked_once_however_many_scrape() -> None:
    asked = []

    def look() -> Figures:
        asked.append(1)
        return Figures([], 0, {}, [])

    collector = FromDatabase(look)
    for _ in range(5):
        list(collector.collect())
    assert len(asked) == 1


def test_what_another_version_counts_in_another_form_is_left_out() -> None:
    good = {"type": "gauge", "help": "h", "samples": [["radii_x", {}, 1]]}
    found = metrics.read(
        {"a": {"radii_x": good}, "b": {"radii_x": {"samples": "?"}, "radii_y": {}}, "c": {"radii_x": good}}
    )
    assert [(m.name, [s.labels["worker"] for s in m.samples]) for m in found] == [("radii_x", ["a", "c"])]


@pytest.mark.parametrize("form", ["text", "json"])
def test_two_applications_in_one_process(settings: Settings, form: str) -> None:
    for _ in range(2):
        create_app(settings.model_copy(update={"log_format": form}))
