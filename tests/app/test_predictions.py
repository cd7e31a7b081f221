"""Predictions are certifications that answer for g and certify no radius."""

import pytest
from httpx import Client

from models.database import Database
from models.repositories import shards
from models.repositories.chunks import ChunkCounts, InputResult
from radii.methods import Prediction
from tests.app import rows
from tests.app.calls import certification, post_certification, problem, ready_dataset, ready_model

ASKED = {"kind": "prediction", "sigma": 0.25}


def predicted(index: int, label: int | None, prediction: int | None, p_value: float) -> InputResult:
    detail = {"counts": [1000, *[0] * 10], "n": 1000, "p_value": p_value, "seconds": 0.5}
    return InputResult(index, label, prediction, None, prediction is None, detail)


def test_answers_have_a_p_value_and_neither_radius_nor_curve(client: Client, database: Database) -> None:
    job_id = certification(client, database, inputs=3, method=ASKED)
    path = f"/v1/certifications/{job_id}"
    job = client.get(path).json()
    whole = {"kind": "prediction", "noise": "gaussian", "sigma": 0.25, "alpha": 0.001, "n": 1000}
    assert job["method"] == {**whole, "grid": "auto", "precision": "float32", "family_wise": False}
    assert (job["progress"]["total"], job["progress"]["unit"]) == (3000, "samples")
    claim = rows.begin(database, job_id)
    with database.write() as session:
        results = [predicted(0, 3, 3, 1e-9), predicted(1, 3, 4, 1e-9), predicted(2, 3, None, 0.5)]
        chunks = [ChunkCounts(r.index, "predict", 0, r.detail["counts"]) for r in results]
        shards.record(session, claim, chunks, results, seconds=60)
    rows.finish(database, claim)
    job = client.get(path).json()
    assert (job["state"], job["progress"]["fraction"]) == ("succeeded", 1.0)
    summary = {key: value for key, value in job["summary"].items() if value is not None}
    counts = {"inputs": 3, "inputs_asked": 3, "complete": True, "abstained": 1}
    assert summary == counts | {"accuracy": pytest.approx(1 / 3), "failed": 0, "failed_indices": []}
    page = client.get(f"{path}/results").json()
    assert page["norm"] is None
    said = [(item["prediction"], item["abstained"], item["radius"], item["p_value"]) for item in page["items"]]
    assert said == [(3, False, None, 1e-9), (4, False, None, 1e-9), (None, True, None, 0.5)]
    assert "no curve" in problem(client.get(f"{path}/curve"), 404, "not-found")["detail"]


def test_what_can_never_be_answered_is_refused(client: Client, database: Database) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    # 2^(1-n) <= 0.001 from n = 11
    assert (
        "Use n >= 11"
        in problem(post_certification(client, *ids, method=ASKED | {"n": 10}), 422, "invalid-request")["detail"]
    )
    assert post_certification(client, *ids, method=ASKED | {"n": 11}).status_code == 202
    together = ASKED | {"n": 17, "family_wise": True}  # of 100 inputs: 2^(1-n) <= 1e-5 from n = 18
    document = problem(post_certification(client, *ids, method=together), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/method/n" and "Use n >= 18" in document["detail"]
    assert post_certification(client, *ids, method=together | {"n": 18}).status_code == 202
    for wrong in ({"norm": "l2"}, {"cross_check": 1}, {"n0": 100}):
        field = next(iter(wrong))
        document = problem(post_certification(client, *ids, method=ASKED | wrong), 422, "invalid-request")
        assert document["errors"][0]["pointer"] == f"/method/{field}"
    # where smoothing does not apply, nor does this
    alone = ready_model(
        client, database, b"\x08\x0a\x12\x07other", methods=[{"kind": "smoothing", "applies": False, "reasons": []}]
    )
    problem(post_certification(client, alone, ids[1], method=ASKED), 422, "method-not-applicable")


@pytest.mark.parametrize("alpha", [0.5, 2.0**-10, 0.001, 1e-9, 1e-300])
def test_the_least_n_is_that_of_the_test(alpha: float) -> None:
    """Against the test itself, on votes that all agree."""
    from radii.smoothing import prediction_test

    def knows(n: int) -> bool:
        return prediction_test([n, 0, 0], alpha=alpha).prediction == 0

    least = next(n for n in range(1, 2000) if knows(n))
    assert Prediction(sigma=1.0, alpha=alpha, n=least).n == least
    with pytest.raises(ValueError, match=f"Use n >= {least}"):
        Prediction(sigma=1.0, alpha=alpha, n=least - 1)
