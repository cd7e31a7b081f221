"""Batches through the API: all or none, one state, one progress, the same question twice, and cancelling."""

import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from httpx import Client, Response
from sqlalchemy import event, func, select

from models.bell import Bell
from models.database import Database
from models.problems import Problem
from models.repositories import leases
from models.repositories.leases import LostClaim
from models.tables import Batch, Certification, Shard
from tests import factories
from tests.app import rows
from tests.app.calls import NPZ, ONNX, post_certification, post_model, problem, ready_dataset, ready_model

LIPSCHITZ = {"kind": "lipschitz"}
METHODS = [LIPSCHITZ, rows.SMOOTHING]
NOWHERE = {"model_id": "mdl_" + "0" * 32, "dataset_id": "dat_" + "0" * 32, "method": LIPSCHITZ}


@pytest.fixture
def models(client: Client, database: Database) -> list[str]:
    """The ids of two models."""
    return [ready_model(client, database, ONNX + bytes([number])) for number in range(2)]


@pytest.fixture
def dataset(client: Client, database: Database) -> str:
    """The id of a data set of 100 inputs."""
    return ready_dataset(client, database)


def post_batch(client: Client, models: list[str], datasets: list[str], **fields: Any) -> Response:
    """The answer to a new batch of all combinations."""
    body = {"model_ids": models, "dataset_ids": datasets, "methods": METHODS, "subset": {"stop": 4}} | fields
    return client.post("/v1/batches", json=body)


def table(client: Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Its rows."""
    found: list[dict[str, Any]] = client.get(f"/v1/batches/{batch['id']}/table").json()["items"]
    return found


def bound(database: Database, job_id: str, radii: tuple[float, ...] = (0.5,)) -> None:
    """A worker does a lipschitz certification to its end."""
    claim = rows.begin(database, job_id)
    rows.record(database, claim, [rows.bounded(index, 3, 3, r) for index, r in enumerate(radii)], rows.report())
    rows.finish(database, claim)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """Statements that were sent, and of what."""
    sent: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


def test_every_combination_is_a_certification_of_its_own(
    client: Client, database: Database, models: list[str], bells: list[Bell]
) -> None:
    datasets = [ready_dataset(client, database, NPZ + bytes([number])) for number in range(3)]
    bells.clear()
    answer = post_batch(client, models, datasets, name="sweep")
    batch = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["location"] == f"/v1/batches/{batch['id']}"
    assert (batch["name"], batch["state"], batch["ended"]) == ("sweep", "queued", False)
    assert (batch["states"], batch["certifications"]) == ({"queued": 12}, [])
    waiting = {"done": 0, "total": 12, "unit": "certifications", "fraction": 0.0, "phase": "waiting", "eta_s": None}
    assert batch["progress"] == waiting
    made = table(client, batch)
    asked = list(product(models, datasets, ("lipschitz", "smoothing")))
    assert [(row["model_id"], row["dataset_id"], row["kind"]) for row in made] == asked
    assert [row["index"] for row in made] == list(range(12))
    assert {(row["model"], row["dataset"], row["inputs_asked"]) for row in made} == {("digits", "digits", 4)}
    jobs = [row["certification_id"] for row in made]
    assert bells == [Bell("certification", job) for job in jobs]
    for row in made:
        job = client.get(f"/v1/certifications/{row['certification_id']}").json()
        alone = post_certification(client, row["model_id"], row["dataset_id"], row["method"], subset={"stop": 4}).json()
        passing = ("id", "created_at")
        assert {**job, **dict.fromkeys(passing)} == {**alone, **dict.fromkeys(passing)}
    assert [row["id"] for row in client.get("/v1/batches").json()["items"]] == [batch["id"]]


def test_items_say_each_for_itself(client: Client, database: Database, models: list[str], dataset: str) -> None:
    front = post_model(client, ONNX + b"front", task="denoiser").json()["id"]
    rows.accept(database, front)
    items = [
        {"model_id": models[1], "dataset_id": dataset, "method": LIPSCHITZ, "subset": {"start": 1, "step": 3}},
        {"model_id": models[0], "dataset_id": dataset, "method": rows.SMOOTHING, "denoiser_model_id": front},
    ]
    made = table(client, client.post("/v1/batches", json={"items": items}).json())
    found = [(row["model_id"], row["kind"], row["denoiser_model_id"], row["inputs_asked"]) for row in made]
    assert found == [(models[1], "lipschitz", None, 33), (models[0], "smoothing", front, 100)]


def test_one_state_and_one_progress(
    client: Client, database: Database, models: list[str], dataset: str, statements: list[str]
) -> None:
    batch = post_batch(client, models, [dataset], subset={"stop": 2}).json()
    path, (first, second, third, fourth) = f"/v1/batches/{batch['id']}", table(client, batch)
    bound(database, first["certification_id"], (0.5, 0.25))
    answer = client.get(path)
    seen = answer.json()
    # Half of the lipschitz inputs, which are half of the certifications.
    assert (seen["state"], seen["states"]) == ("running", {"succeeded": 1, "queued": 3})
    assert (seen["progress"]["done"], seen["progress"]["fraction"]) == (1, 0.25)
    assert (seen["progress"]["phase"], seen["progress"]["eta_s"] >= 0) == ("certifying", True)
    assert seen["started_at"] and not seen["finished_at"] and int(answer.headers["retry-after"]) >= 1

    claim = rows.begin(database, second["certification_id"])
    rows.record(database, claim, [rows.smoothed(0, 3, 3, 0.5)])
    statements.clear()
    seen = client.get(path).json()
    assert sum("FROM certifications" in one and "GROUP BY" in one for one in statements) == 1
    assert len([one for one in statements if one.startswith("SELECT")]) <= 4  # the key, batch, tally, those under way
    # And a quarter of the samples of the two smoothing certifications.
    assert seen["progress"]["fraction"] == 0.5 * 0.5 + 0.5 * 0.25
    (member,) = seen["certifications"]
    assert (member["id"], member["index"], member["state"]) == (second["certification_id"], 1, "running")
    assert (member["progress"]["fraction"], member["progress"]["unit"]) == (0.5, "samples")
    assert (member["model_id"], member["model"], member["method"]) == (models[0], "digits", rows.SMOOTHING)

    bound(database, third["certification_id"], (0.5, 0.25))
    rows.record(database, claim, [rows.smoothed(1, 3, 3, 0.5)])
    rows.finish(database, claim)
    rows.fail(database, rows.begin(database, fourth["certification_id"]), Problem.OUT_OF_MEMORY.document("12 GiB"))
    answer = client.get(path)
    seen = answer.json()
    assert (seen["state"], seen["ended"], seen["states"]) == ("failed", True, {"succeeded": 3, "failed": 1})
    assert (seen["progress"]["done"], seen["progress"]["fraction"], seen["progress"]["phase"]) == (4, 1.0, "ended")
    assert seen["progress"]["eta_s"] is None and "retry-after" not in answer.headers
    assert seen["created_at"] <= seen["started_at"] <= seen["finished_at"]
    assert seen["certifications"][0]["problem"]["detail"] == "12 GiB"
    (listed,) = client.get("/v1/batches").json()["items"]
    assert listed == {**seen, "certifications": None}
    same = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert same.status_code == 304


def test_all_that_succeed_is_a_success_and_the_request_may_wait_for_it(
    client: Client, database: Database, models: list[str], dataset: str
) -> None:
    batch = post_batch(client, models, [dataset], methods=[LIPSCHITZ], subset={"stop": 1}).json()
    jobs = [row["certification_id"] for row in table(client, batch)]
    bound(database, jobs[0])
    finisher = threading.Timer(0.2, bound, (database, jobs[1]))
    finisher.start()
    answer = client.get(f"/v1/batches/{batch['id']}", headers={"Prefer": "wait=20"})
    finisher.join()
    assert (answer.json()["state"], answer.headers["preference-applied"]) == ("succeeded", "wait=20")
    again = post_batch(client, models, [dataset], methods=[LIPSCHITZ], subset={"stop": 1})
    assert (again.status_code, again.json()["id"]) == (200, batch["id"])


def test_the_same_question_is_the_same_batch(
    client: Client, database: Database, models: list[str], dataset: str, bells: list[Bell]
) -> None:
    first = post_batch(client, models, [dataset], name="first")
    bells.clear()
    items = [
        {"model_id": row["model_id"], "dataset_id": dataset, "method": row["method"], "subset": {"stop": 4}}
        for row in table(client, first.json())
    ]
    for again in (
        post_batch(client, models, [dataset], name="again"),
        post_batch(client, models[::-1], [dataset], methods=METHODS[::-1]),
        client.post("/v1/batches", json={"items": items[::-1]}),
    ):
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["location"] == first.headers["location"]
    assert bells == []
    other = post_batch(client, models, [dataset], subset={"stop": 5})
    assert (other.status_code, other.json()["id"] != first.json()["id"]) == (202, True)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Certification)) == 8


def test_of_two_who_ask_at_once_one_makes_it(
    client: Client, database: Database, models: list[str], dataset: str
) -> None:
    answers: list[Response] = []
    asking = [threading.Thread(target=lambda: answers.append(post_batch(client, models, [dataset]))) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Certification)) == 4
        assert session.scalar(select(func.count()).select_from(Batch)) == 1


def test_what_failed_or_was_cancelled_is_begun_anew(
    client: Client, database: Database, models: list[str], dataset: str
) -> None:
    made = []
    for end in ("fail", "cancel", "nothing"):
        answer = post_batch(client, models, [dataset])
        assert (answer.status_code, answer.json()["state"]) == (202, "queued")
        made.append(answer.json())
        if end == "fail":
            job = table(client, answer.json())[0]["certification_id"]
            rows.fail(database, rows.begin(database, job), Problem.OUT_OF_MEMORY.document("12 GiB"))
            assert post_batch(client, models, [dataset]).status_code == 200  # the others go on
        if end != "nothing":
            client.post(f"/v1/batches/{answer.json()['id']}/cancel")
    assert len({batch["id"] for batch in made}) == 3
    states = [client.get(f"/v1/batches/{batch['id']}").json()["state"] for batch in made]
    assert states == ["failed", "cancelled", "queued"]


def test_cancel(client: Client, database: Database, models: list[str], dataset: str) -> None:
    """One has succeeded, one runs, one is cut into shards, one is not: each ends as it would alone."""
    batch = post_batch(client, models, [dataset], subset={"stop": 2}).json()
    jobs = [row["certification_id"] for row in table(client, batch)]
    alone = [
        post_certification(client, row["model_id"], dataset, row["method"], subset={"stop": 2}).json()["id"]
        for row in table(client, batch)
    ]
    claims = []
    for first, second, third, _ in (jobs, alone):
        bound(database, first, (0.5, 0.25))
        claims.append(rows.begin(database, second))
        rows.record(database, claims[-1], [rows.smoothed(0, 3, 3, 0.5)])
        with database.write() as session:
            factories.cut(session, third)
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    ended = answer.json()
    assert (answer.status_code, ended["state"], ended["ended"]) == (202, "cancelled", True)
    assert ended["states"] == {"succeeded": 1, "cancelled": 3}
    for job in alone[1:]:
        assert client.post(f"/v1/certifications/{job}/cancel").status_code == 202
    passing = dict.fromkeys(("id", "created_at", "started_at", "finished_at", "shards"))
    for pair in zip(jobs, alone, strict=True):
        one, other = (client.get(f"/v1/certifications/{job}").json() for job in pair)
        assert one | passing == other | passing
        assert one["finished_at"] and one["shards"]["states"] == other["shards"]["states"]
    with pytest.raises(LostClaim):
        rows.record(database, claims[0], [])
    with database.write() as session:
        assert list(leases.unattended(session)) == []
        assert set(session.scalars(select(Shard.state))) == {"succeeded", "cancelled"}
    document = problem(client.post(f"/v1/batches/{batch['id']}/cancel"), 409, "already-ended")
    assert (document["state"], document["detail"]) == ("cancelled", f"{batch['id']} is cancelled already")


def test_misfits_are_named_together_and_nothing_is_started(
    client: Client, database: Database, models: list[str], dataset: str, bells: list[Bell]
) -> None:
    small = ready_dataset(client, database, NPZ + b"small", shape=[1, 4, 4])
    bells.clear()
    median = {"kind": "median", "sigma": 0.25, "radius": 0.1}
    answer = post_batch(client, models, [dataset, small], methods=[rows.SMOOTHING, median])
    document = problem(answer, 422, "unfit-batch")
    by_type = {misfit["type"].rpartition("/")[2]: misfit for misfit in document["misfits"]}
    places = [[item["index"] for item in misfit["items"]] for misfit in document["misfits"]]
    assert sorted(index for some in places for index in some) == [1, 2, 3, 5, 6, 7]  # of the eight, 0 and 4 fit
    mismatched = by_type["shape-mismatch"]
    assert mismatched["items"] == [
        {"index": index, "model_id": model, "dataset_id": small, "kind": "smoothing"}
        for index, model in ((2, models[0]), (6, models[1]))
    ]
    assert mismatched["detail"] and mismatched["remedy"]
    assert "6 of 8 can't be: items 1, 3: " in document["detail"]
    assert f"{models[0]} is a classifier, and median is about a regressor" in document["detail"]
    assert bells == []
    with database.read() as session:
        for made in (Batch, Certification):
            assert session.scalar(select(func.count()).select_from(made)) == 0


def test_misfits_of_a_list(client: Client, database: Database, models: list[str], dataset: str) -> None:
    nobody = "mdl_" + "0" * 32
    fits = {"model_id": models[0], "dataset_id": dataset, "method": LIPSCHITZ}
    items = [fits, fits | {"model_id": nobody}, fits | {"subset": {"start": 200}}, fits | {"subset": {"stop": 100}}]
    document = problem(client.post("/v1/batches", json={"items": items}), 422, "unfit-batch")
    details = [misfit["detail"] for misfit in document["misfits"]]
    assert details[0] == f"there is no model {nobody}"
    assert "has 100 inputs" in details[1]
    assert details[2] == "it is item 0 once more; leave one of them out"  # all 100 are the whole data set
    assert [[item["index"] for item in misfit["items"]] for misfit in document["misfits"]] == [[1], [2], [3]]


def test_what_is_not_ready_yet_may_be_asked_for_again(
    client: Client, database: Database, models: list[str], dataset: str
) -> None:
    waiting = post_model(client, ONNX + b"waits").json()["id"]
    answer = post_batch(client, [*models, waiting], [dataset])
    document = problem(answer, 409, "not-ready")
    assert (answer.headers["retry-after"], waiting in document["detail"]) == ("1", True)
    assert [item["index"] for item in document["misfits"][0]["items"]] == [4, 5]
    rows.accept(database, waiting)
    assert post_batch(client, [*models, waiting], [dataset]).status_code == 202


def test_a_body_that_cannot_be_right(client: Client, models: list[str], dataset: str) -> None:
    fields: dict[str, Any]
    for fields, pointer, words in (
        ({"methods": None}, "", "missing: methods"),
        ({"items": []}, "/items", "at least 1 item"),
        ({"items": [NOWHERE]}, "", "leave out model_ids, dataset_ids, methods, subset, or items"),
        ({"methods": [{"kind": "smoothing", "sigma": 0.25 + k} for k in range(501)]}, "", "1002 certifications"),
        ({"methods": [LIPSCHITZ, {"kind": "smoothing"}]}, "/methods/1/sigma", "required"),
        ({"methods": [{"kind": "magic"}]}, "/methods/0", "must be one of"),
        ({"haste": 3}, "/haste", "no such field"),
    ):
        document = problem(post_batch(client, models, [dataset], **fields), 422, "invalid-request")
        assert (document["errors"][0]["pointer"], words in document["detail"]) == (pointer, True), document


def test_a_thousand_are_started_and_cancelled_in_a_few_statements(
    client: Client, database: Database, dataset: str, models: list[str], statements: list[str], bells: list[Bell]
) -> None:
    methods = [{"kind": "smoothing", "sigma": 0.1 + k / 1000, "n": 1000} for k in range(500)]
    bells.clear()
    statements.clear()
    answer = post_batch(client, models, [dataset], methods=methods)
    assert (answer.status_code, answer.json()["states"], len(bells)) == (202, {"queued": 1000}, 1000)
    assert len(statements) < 60  # rows are inserted many at a time
    made = table(client, answer.json())
    items = [
        {name: row[name] for name in ("model_id", "dataset_id", "method")} | {"subset": {"stop": 4}} for row in made
    ]
    again = client.post("/v1/batches", json={"items": items})  # in full it is not too large for a request
    assert (again.status_code, again.json()["id"], len(items)) == (200, answer.json()["id"], 1000)
    with database.write() as session:
        factories.cut(session, bells[7].id)
    statements.clear()
    assert client.post(f"/v1/batches/{answer.json()['id']}/cancel").json()["states"] == {"cancelled": 1000}
    assert len(statements) < 60
    with database.read() as session:
        assert session.scalar(select(func.count()).where(Certification.finished_at.is_not(None))) == 1000
        assert set(session.scalars(select(Shard.state))) == {"cancelled"}
