from datetime import timedelta
from typing import Any

import pytest
from httpx import Client
from sqlalchemy import select

from models.base import now
from models.bell import Bell
from models.database import Database
from models.problems import Problem
from models.repositories import leases, shards
from models.repositories.leases import LostClaim
from models.tables import Certification, Shard
from radii.methods import Smoothing
from tests.app import rows
from tests.app.calls import (
    INPUT,
    NPZ,
    ONNX,
    certification,
    post_certification,
    post_dataset,
    post_model,
    problem,
    ready_dataset,
    ready_model,
)

COST = rows.SMOOTHING["n0"] + rows.SMOOTHING["n"]
RESULTS = [rows.smoothed(0, 3, 3, 0.5), rows.smoothed(1, 3, None, None)]


def test_from_queued_to_succeeded(client: Client, database: Database, bells: list[Bell]) -> None:
    model_id, dataset_id = ready_model(client, database), ready_dataset(client, database)
    answer = post_certification(client, model_id, dataset_id, subset={"start": 0, "stop": 4, "step": 3})
    job = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["location"] == f"/v1/certifications/{job['id']}"
    assert (job["state"], job["model_id"], job["dataset_id"]) == ("queued", model_id, dataset_id)
    assert (job["method"], job["subset"]) == (rows.SMOOTHING, {"start": 0, "stop": 4, "step": 3})
    waiting = {"done": 0, "total": 2 * COST, "unit": "samples", "fraction": 0.0, "phase": "waiting", "eta_s": None}
    assert job["progress"] == waiting
    assert [bell.noun for bell in bells] == ["model", "dataset", "certification"]

    claim = rows.begin(database, job["id"])
    rows.record(database, claim, [rows.smoothed(0, 3, 3, 0.5)])
    answer = client.get(answer.headers["location"])
    job = answer.json()
    assert job["state"] == "running"
    assert int(answer.headers["retry-after"]) >= 1
    assert (job["progress"]["done"], job["progress"]["fraction"]) == (COST, 0.5)
    assert (job["progress"]["phase"], job["progress"]["eta_s"] >= 0) == ("certifying", True)

    rows.record(database, claim, [rows.smoothed(3, 3, 5, 0.25)])
    rows.finish(database, claim)
    answer = client.get(f"/v1/certifications/{job['id']}")
    job = answer.json()
    assert "retry-after" not in answer.headers
    assert (job["state"], job["problem"]) == ("succeeded", None)
    assert (job["progress"]["fraction"], job["progress"]["phase"], job["progress"]["eta_s"]) == (1.0, "ended", None)
    figures = job["summary"]
    assert (figures["inputs"], figures["inputs_asked"], figures["complete"]) == (2, 2, True)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["finished_at"].endswith("Z")


def test_the_whole_data_set_is_the_default(client: Client, database: Database, bells: list[Bell]) -> None:
    ids = ready_model(client, database), ready_dataset(client, database, count=1000)
    job = post_certification(client, *ids).json()
    assert job["subset"] == {"start": 0, "stop": 1000, "step": 1}
    with database.read() as session:  # one row, and planning is a worker's: however many inputs there are
        row = session.get_one(Certification, job["id"])
        assert (row.shard_inputs, row.unsharded) == (181, 1000)
        assert session.scalars(select(Shard)).all() == []
    assert [bell.noun for bell in bells] == ["model", "dataset", "certification"]
    job = post_certification(client, *ids, method={"kind": "lipschitz"}).json()
    assert (job["progress"]["total"], job["progress"]["unit"]) == (1000, "inputs")
    defaults = {"bound": "auto", "rtol": 1e-6, "budget": 1024, "norm": "l2", "cross_check": None}
    assert job["method"] == {"kind": "lipschitz", **defaults}


def test_a_failed_job_carries_its_problem(client: Client, database: Database) -> None:
    job_id = certification(client, database)
    why = Problem.OUT_OF_MEMORY.document("12 GiB were needed")
    rows.fail(database, rows.begin(database, job_id), why)
    answer = client.get(f"/v1/certifications/{job_id}")
    assert (answer.json()["state"], answer.json()["problem"]) == ("failed", why)
    assert "retry-after" not in answer.headers


def test_etag(client: Client, database: Database) -> None:
    path = f"/v1/certifications/{certification(client, database)}"
    tag = client.get(path).headers["etag"]
    assert tag.startswith('"')  # strong
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["retry-after"] == "1"
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    rows.begin(database, path.rpartition("/")[2])
    answer = client.get(path, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)


@pytest.mark.parametrize(
    ("taken", "done", "asked"), [(3, 0.01, "1"), (30, 0.01, "3"), (30, 0.75, "1"), (900, 0.1, "10")]
)
def test_an_early_estimate_costs_its_reader_a_tenth_of_the_time_taken_at_most(
    client: Client, database: Database, taken: int, done: float, asked: str
) -> None:
    row_id = certification(client, database)
    rows.begin(database, row_id)
    with database.write() as session:
        row = session.get_one(Certification, row_id)
        row.started_at, row.done_by_ended = now() - timedelta(seconds=taken), int(row.total * done)
    assert client.get(f"/v1/certifications/{row_id}").headers["retry-after"] == asked


def test_cancel(client: Client, database: Database) -> None:
    path = f"/v1/certifications/{certification(client, database)}"
    claim = rows.begin(database, path.rpartition("/")[2])
    rows.record(database, claim, RESULTS)
    answer = client.post(f"{path}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    figures = answer.json()["summary"]
    assert (figures["inputs"], figures["inputs_asked"], figures["complete"]) == (2, 4, False)
    document = problem(client.post(f"{path}/cancel"), 409, "already-ended")
    assert document["state"] == "cancelled"
    assert client.get(path).json()["state"] == "cancelled"
    assert len(client.get(f"{path}/results").json()["items"]) == 2
    with pytest.raises(LostClaim):
        rows.record(database, claim, [])


def test_model_and_data_set_must_be_there_and_ready(client: Client, database: Database) -> None:
    model_id, dataset_id = ready_model(client, database), ready_dataset(client, database)
    waiting = post_model(client, ONNX + b"2").json()["id"], post_dataset(client, NPZ + b"2").json()["id"]
    for ids in ((waiting[0], dataset_id), (model_id, waiting[1])):
        answer = post_certification(client, *ids)
        problem(answer, 409, "not-ready")
        assert answer.headers["retry-after"] == "1"
    why = Problem.UNSUPPORTED_MODEL.document("node 3")
    for row_id in waiting:
        rows.reject(database, row_id, why)
    for ids in ((waiting[0], dataset_id), (model_id, waiting[1])):
        assert problem(post_certification(client, *ids), 409, "rejected")["cause"] == why
    nothing = "0" * 32
    for pointer, ids in (("/model_id", ("mdl_" + nothing, dataset_id)), ("/dataset_id", (model_id, "dat_" + nothing))):
        document = problem(post_certification(client, *ids), 422, "invalid-request")
        assert document["errors"][0]["pointer"] == pointer


def test_data_set_and_method_must_fit_the_model(client: Client, database: Database) -> None:
    model_id = ready_model(client, database)
    reasons = [{"node": 2, "operator": "Softmax", "reason": "no constant", "remedy": "use smoothing"}]
    methods = [
        {"kind": "smoothing", "applies": True, "reasons": []},
        {"kind": "lipschitz", "applies": False, "reasons": reasons},
        {"kind": "local", "applies": False, "reasons": reasons},
    ]
    other_id = ready_model(client, database, ONNX + b"2", methods=methods)
    dataset_id = ready_dataset(client, database)

    def refused(found: dict[str, Any], slug: str) -> str:
        data = NPZ + repr(found).encode()
        answer = post_certification(client, model_id, ready_dataset(client, database, data, **found))
        return str(problem(answer, 422, slug)["detail"])

    detail = refused({"shape": [8, 8]}, "shape-mismatch")
    assert "(8, 8)" in detail and "(1, 8, 8)" in detail
    assert "-0.5 to 1" in refused({"min": -0.5}, "range-mismatch")
    assert "0 to 255" in refused({"max": 255.0}, "range-mismatch")
    assert "label 10" in refused({"labels": {"2": 1, "10": 1}}, "labels-out-of-range")
    no_labels = ready_dataset(client, database, NPZ + b"x alone", labels=None, num_labels=None)
    assert post_certification(client, model_id, no_labels).status_code == 202

    for kind in ("lipschitz", "local"):
        answer = post_certification(client, other_id, dataset_id, {"kind": kind})
        assert problem(answer, 422, "method-not-applicable")["reasons"] == reasons
    # of a model that was taken in before there was the method nothing is said: the worker finds out
    assert post_certification(client, model_id, dataset_id, {"kind": "local"}).status_code == 202
    assert post_certification(client, other_id, dataset_id).status_code == 202


def test_decisions_share_a_shard_where_there_are_shards_enough_for_all_workers() -> None:
    """Most take few samples, and their looks share batches on a GPU."""
    ask = {"sigma": 0.25, "mode": "decide", "target_radius": 0.25}
    decides = Smoothing.model_validate(ask)
    assert [decides.shard_inputs(None, inputs) for inputs in (1, 32, 100, 640, 10_000, None)] == [1, 1, 3, 20, 20, 20]
    assert [Smoothing.model_validate(ask | {"n": n}).shard_inputs() for n in (1900, 10**6, 10**9)] == [100, 4, 1]
    assert Smoothing(sigma=0.25).shard_inputs(None, 10_000) == 1


def test_subsets(client: Client, database: Database) -> None:
    model_id, dataset_id = ready_model(client, database), ready_dataset(client, database)
    for subset in ({"stop": 101}, {"start": 100}, {"start": 5, "stop": 5}, {"stop": 0}):
        problem(post_certification(client, model_id, dataset_id, subset=subset), 422, "subset-out-of-range")
    for wrong in ({"start": -1}, {"step": 0}, {"stop": 2**31}, {"start": 2**64}, {"stop": 1.5}, {"end": 3}):
        document = problem(post_certification(client, model_id, dataset_id, subset=wrong), 422, "invalid-request")
        assert document["errors"][0]["pointer"] == f"/subset/{next(iter(wrong))}"
    job = post_certification(client, model_id, dataset_id, subset={"start": 99}).json()
    assert job["subset"] == {"start": 99, "stop": 100, "step": 1}
    huge = ready_dataset(client, database, NPZ + b"huge", count=100_001)
    answer = post_certification(client, model_id, huge, rows.SMOOTHING | {"n": 10**9})
    assert "100000" in problem(answer, 422, "subset-too-large")["detail"]


def test_methods_that_can_not_be(client: Client, database: Database) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    smoothing = rows.SMOOTHING
    for method, pointer in (
        (smoothing | {"sigma": 0}, "/method/sigma"),
        (smoothing | {"sigma": 1e-40}, "/method/sigma"),
        (smoothing | {"sigma": 9e-29}, "/method/sigma"),
        (smoothing | {"sigma": -1}, "/method/sigma"),
        (smoothing | {"alpha": 0}, "/method/alpha"),
        (smoothing | {"alpha": 1}, "/method/alpha"),
        (smoothing | {"n": 0}, "/method/n"),
        (smoothing | {"n0": 2**70}, "/method/n0"),
        (smoothing | {"n": 9}, "/method"),
        (smoothing | {"sgima": 1}, "/method/sgima"),
        (smoothing | {"mode": "decide"}, "/method"),
        (smoothing | {"target_radius": 0.5}, "/method"),
        (smoothing | {"mode": "decide", "target_radius": 0.0}, "/method/target_radius"),
        (smoothing | {"mode": "decide", "target_radius": 0.75}, "/method"),
        (smoothing | {"mode": "decide", "target_radius": 0.1, "norm": "linf"}, "/method/target_radius"),
        (smoothing | {"norm": "l3"}, "/method/norm"),
        (smoothing | {"noise": "cauchy"}, "/method/noise"),
        (smoothing | {"noise": "laplace", "norm": "l2"}, "/method"),
        (smoothing | {"noise": "uniform", "norm": "l1", "mode": "decide", "target_radius": 0.43}, "/method"),
        (smoothing | {"grid": "yes"}, "/method/grid"),
        (smoothing | {"precision": "float16"}, "/method/precision"),
        (smoothing | {"precision": "bfloat16", "scores": "soft"}, "/method"),
        (smoothing | {"grid": "on", "scores": "soft"}, "/method/grid"),
        ({"kind": "smoothing"}, "/method/sigma"),
        ({"kind": "x" * 10_000}, "/method"),
        ({}, "/method"),
        ([], "/method"),
    ):
        document = problem(post_certification(client, *ids, method=method), 422, "invalid-request")  # type: ignore[arg-type]
        assert document["errors"][0]["pointer"] == pointer, method
        assert len(str(document)) < 2000
        assert not {"discriminator", "tag", "Extra"} & set(document["detail"].split()), document["detail"]
    for method, detail in (
        ({"sigma": 0.5}, "/method: It has no 'kind'"),
        (smoothing | {"kind": "smooth"}, "/method: 'kind' must be one of 'smoothing', 'lipschitz', "),
        (smoothing | {"nn": 10}, "/method/nn: There is no such field here"),
    ):
        document = problem(post_certification(client, *ids, method=method), 422, "invalid-request")
        assert document["detail"].startswith(detail)
    # inputs off the grid are rounded to it, where the model's range has one
    assert post_certification(client, *ids, method=smoothing | {"grid": "on"}).status_code == 202
    wide: str = post_model(client, input=INPUT | {"range": [-1, 1]}).json()["id"]
    rows.accept(database, wide)
    document = problem(
        post_certification(client, wide, ids[1], method=smoothing | {"grid": "on"}), 422, "invalid-request"
    )
    assert document["errors"][0]["pointer"] == "/method/grid" and "nor is the model's range" in document["detail"]
    # log2(1/0.001) = 9.97: nine samples can't certify, ten can; the text names the field and the remedy
    detail = problem(post_certification(client, *ids, method=smoothing | {"n": 9}), 422, "invalid-request")["detail"]
    assert "n = 9" in detail and "n >= 10" in detail
    assert post_certification(client, *ids, method=smoothing | {"n": 10}).status_code == 202
    # log2(100/0.001) = 16.6: for a hundred inputs together it takes 17
    together = smoothing | {"n": 16, "family_wise": True}
    document = problem(post_certification(client, *ids, method=together), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/method/n"
    assert "Use n >= 17" in document["detail"]
    assert post_certification(client, *ids, method=together | {"n": 17}).status_code == 202
    # sigma Phi^-1((0.8 alpha)^(1/n)) is 0.61297 here, said rounded down, and an eighth of it in linf (64 values)
    asked = smoothing | {"mode": "decide", "target_radius": 0.62}
    detail = problem(post_certification(client, *ids, method=asked), 422, "invalid-request")["detail"]
    assert "the most is 0.6129" in detail and "Raise n or sigma" in detail  # the last bound has 0.8 alpha
    together = asked | {"target_radius": 0.58, "family_wise": True}
    document = problem(post_certification(client, *ids, method=together), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/method/target_radius"
    assert "alpha = 0.001 / 100: the most is 0.5669" in document["detail"]
    asked = smoothing | {"noise": "uniform", "norm": "linf"}
    detail = problem(post_certification(client, *ids, method=asked), 422, "invalid-request")["detail"]
    assert "uniform noise certifies l1 radii: leave norm out, or take gaussian noise for linf" in detail
    # of n = 1000 votes that agree the most is 0.4270 and 0.7574; the norm follows from the noise
    for noise, target in (("uniform", 0.42), ("laplace", 0.75)):
        asked = {key: value for key, value in smoothing.items() if key != "norm"}
        answer = post_certification(
            client, *ids, method=asked | {"noise": noise, "mode": "decide", "target_radius": target}
        )
        assert (answer.status_code, answer.json()["method"]["norm"]) == (202, "l1")
    for target, norm in ((0.61, "l2"), (0.076, "linf"), (0.61, "l1")):
        asked = smoothing | {"mode": "decide", "target_radius": target, "norm": norm}
        assert post_certification(client, *ids, method=asked).status_code == 202


def test_certifications_are_listed_newest_first(client: Client, database: Database) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    made = [post_certification(client, *ids, subset={"stop": stop}).json() for stop in (1, 2, 3)]
    first = client.get("/v1/certifications?limit=2").json()
    rest = client.get("/v1/certifications", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert sorted(job["id"] for job in first["items"] + rest["items"]) == sorted(job["id"] for job in made)
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]


def test_it_says_who_works_on_it_and_how_an_attempt_was_lost(client: Client, database: Database) -> None:
    job = certification(client, database, inputs=4)
    claim = rows.begin(database, job)
    shown = client.get(f"/v1/certifications/{job}").json()["shards"]
    first = {"id": claim.id, "start": 0, "stop": 4, "attempts": 1, "log": f"{job}/{claim.id}/1", "worker": "test"}
    first["doing"] = first["samples"] = None
    assert shown == {"states": {"running": 1}, "items": [first | {"state": "running", "ended": False, "cause": None}]}
    assert [one["shards"] for one in client.get("/v1/certifications").json()["items"]] == [None]

    with database.write() as session:
        shards.record(session, claim, [], [], seconds=60, doing="bounding the network: node 3 (Conv) of 9")
        shards.record(session, claim, [], [], seconds=60)  # which says nothing else
    (told,) = client.get(f"/v1/certifications/{job}").json()["shards"]["items"]
    assert told["doing"] == "bounding the network: node 3 (Conv) of 9"

    with database.write() as session:
        leases.renew(session, claim, seconds=-1)  # its worker went silent
    rows.begin(database, job)
    (lost,) = client.get(f"/v1/certifications/{job}").json()["shards"]["items"]
    assert (lost["attempts"], lost["log"]) == (2, f"{job}/{claim.id}/2")
    assert lost["cause"]["type"] == "/problems/worker-lost"
    assert "The worker test went silent" in lost["cause"]["detail"]
    assert lost["cause"]["log"] == first["log"]
