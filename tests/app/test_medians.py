"""Medians are certifications of regressors, within one radius."""

from typing import Any

from httpx import Client

from models.database import Database
from models.repositories import shards
from models.repositories.chunks import ChunkCounts, InputResult
from radii.methods import Median
from tests.app import rows
from tests.app.calls import post_certification, post_model, problem, ready_dataset, ready_model

ASKED = {"kind": "median", "sigma": 0.25, "radius": 0.25}
KINDS = ("smoothing", "lipschitz", "median")
APPLY: list[dict[str, Any]] = [{"kind": kind, "applies": kind == "median", "reasons": []} for kind in KINDS]


def ready_regressor(client: Client, database: Database, *, outputs: int = 2) -> str:
    answer = post_model(client, b"\x08\x0a regressor", task="regressor").json()
    assert answer["task"] == "regressor"
    rows.accept(database, answer["id"], num_classes=None, num_outputs=outputs, methods=APPLY)
    return str(answer["id"])


def result(index: int, ends: list[list[float | None]], radius: float | None) -> InputResult:
    bounds = dict(zip(("median", "lower", "upper"), ends, strict=True))
    detail = {"counts": [9990, 10], "n": 10_000, **bounds, "executor": "torch", "batch_size": 100, "seconds": 0.5}
    return InputResult(index, 3, None, radius, radius is None, detail)


def test_results_have_bounds_and_there_is_no_curve(client: Client, database: Database) -> None:
    ids = (
        ready_regressor(client, database),
        ready_dataset(client, database, labels={"99": 100}),
    )  # labels: not looked at
    job = post_certification(client, *ids, method=ASKED, subset={"stop": 2}).json()
    path = f"/v1/certifications/{job['id']}"
    whole = {"kind": "median", "noise": "gaussian", "sigma": 0.25, "alpha": 0.001, "radius": 0.25, "n": 10_000}
    assert job["method"] == {**whole, "grid": "auto", "precision": "float32", "family_wise": False}
    assert (job["progress"]["total"], job["progress"]["unit"]) == (20_000, "samples")
    claim = rows.begin(database, job["id"])
    found: list[list[list[float | None]]] = [
        [[1.5, 2.5], [1.0, 2.0], [2.0, None]],
        [[None, 0.0], [None, None], [1.0, None]],
    ]
    with database.write() as session:
        results = [result(0, found[0], 0.25), result(1, found[1], None)]
        chunks = [ChunkCounts(r.index, "median", 0, r.detail["counts"]) for r in results]
        shards.record(session, claim, chunks, results, seconds=60)
    rows.finish(database, claim)
    job = client.get(path).json()
    assert (job["state"], job["progress"]["fraction"]) == ("succeeded", 1.0)
    summary = {key: value for key, value in job["summary"].items() if value is not None}
    assert summary == {
        "inputs": 2,
        "inputs_asked": 2,
        "complete": True,
        "abstained": 1,
        "failed": 0,
        "failed_indices": [],
    }
    page = client.get(f"{path}/results").json()
    assert page["norm"] == "l2"
    said = [(item["radius"], item["abstained"], item["prediction"]) for item in page["items"]]
    assert said == [(0.25, False, None), (None, True, None)]
    assert [[item[name] for name in ("median", "lower", "upper")] for item in page["items"]] == found
    assert "no curve" in problem(client.get(f"{path}/curve"), 404, "not-found")["detail"]


def test_each_task_has_its_methods(client: Client, database: Database) -> None:
    regressor, dataset = ready_regressor(client, database), ready_dataset(client, database)
    for kind, more in (("smoothing", {"sigma": 0.25}), ("prediction", {"sigma": 0.25}), ("splitting", {"sigma": 0.25})):
        document = problem(
            post_certification(client, regressor, dataset, {"kind": kind, **more}), 422, "invalid-request"
        )
        assert "is a regressor" in document["detail"] and "kind = median" in document["detail"]
        assert document["errors"][0]["pointer"] == "/model_id"
    problem(post_certification(client, regressor, dataset, {"kind": "lipschitz"}), 422, "invalid-request")
    classifier = ready_model(client, database)
    document = problem(post_certification(client, classifier, dataset, ASKED), 422, "invalid-request")
    assert "is a classifier" in document["detail"] and "task = regressor" in document["detail"]
    front = post_certification(client, classifier, dataset, denoiser_model_id=regressor)
    assert "is a regressor; register the denoiser" in problem(front, 422, "invalid-request")["detail"]
    assert post_certification(client, regressor, dataset, ASKED).status_code == 202


def test_what_can_never_be_bounded_or_held_is_refused(client: Client, database: Database) -> None:
    ids = ready_regressor(client, database), ready_dataset(client, database)

    def refused(**more: Any) -> dict[str, Any]:
        document = problem(post_certification(client, *ids, ASKED | more), 422, "invalid-request")
        assert document["errors"][0]["pointer"].startswith("/method")
        return document

    # (1 - Phi(-1))^n <= 0.0005: n >= 44; of two outputs 0.00025: n >= 49; of 100 inputs 2.5e-6: n >= 75
    assert "Use n >= 44," in refused(n=43)["detail"]
    assert "Use n >= 49," in refused(n=48)["detail"]
    assert "Use n >= 75," in refused(n=74, family_wise=True)["detail"]
    assert post_certification(client, *ids, ASKED | {"n": 75, "family_wise": True}).status_code == 202
    assert "Use a smaller radius" in refused(radius=2.0)["detail"]
    for wrong in (
        {"norm": "l2"},
        {"cross_check": 1},
        {"n0": 100},
        {"noise": "laplace"},
        {"radius": -1.0},
        {"n": 1_000_001},
    ):
        refused(**wrong)
    problem(post_certification(client, *ids, {"kind": "median", "sigma": 0.25}), 422, "invalid-request")


def test_more_values_than_are_held_are_refused(client: Client, database: Database) -> None:
    ids = ready_regressor(client, database, outputs=2**12), ready_dataset(client, database)
    document = problem(post_certification(client, *ids, ASKED | {"n": 2**14 + 1}), 422, "invalid-request")
    assert f"use n <= {2**14}" in document["detail"] and document["errors"][0]["pointer"] == "/method/n"
    assert post_certification(client, *ids, ASKED | {"n": 2**14}).status_code == 202


def test_a_shard_has_so_many_inputs_that_their_known_bounds_can_be_held() -> None:
    assert [Median(sigma=1.0, radius=0.5, n=n).shard_inputs() for n in (50, 2000, 10_000)] == [100, 100, 20]


def test_a_regressor_is_an_onnx_file_without_classes(client: Client) -> None:
    canonical = post_model(client, b'{"format": 1}', task="regressor")
    assert "a regressor is taken as ONNX" in problem(canonical, 422, "invalid-request")["detail"]
    labelled = post_model(client, b"\x08\x0a regressor", task="regressor", labels=["a", "b"])
    assert "a regressor has no classes" in problem(labelled, 422, "invalid-request")["detail"]
