from typing import Any, get_args

from httpx import Client

from models.database import Database
from radii.bounds import BoundName
from tests.app import rows
from tests.app.calls import certification, post_certification, problem, ready_dataset, ready_model

LIPSCHITZ = {"kind": "lipschitz"}


def test_the_report_is_there_as_soon_as_the_bound_is_and_its_figures_in_the_summary(
    client: Client, database: Database
) -> None:
    job_id = certification(client, database, inputs=2, method=LIPSCHITZ)
    path = f"/v1/certifications/{job_id}"
    claim: Any = None
    for _ in range(2):  # queued, then running
        answer = client.get(f"{path}/report")
        assert job_id in problem(answer, 409, "not-ready")["detail"]
        assert answer.headers["retry-after"] == "1"
        claim = claim or rows.begin(database, job_id)
    rows.record(database, claim, report=rows.report())
    answer = client.get(f"{path}/report")
    job = client.get(path).json()
    assert answer.json() == {"certification_id": job_id, "model_id": job["model_id"], **rows.report()}
    assert client.get(f"{path}/report", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304

    rows.record(database, claim, [rows.bounded(i, 3, 3, 0.5) for i in range(2)])
    rows.finish(database, claim)
    job = client.get(path).json()
    assert (job["state"], job["summary"]["inputs"]) == ("succeeded", 2)
    assert job["summary"]["bound"] == {"upper": 4.0, "norm": "l2", "rule": "product", "vacuous": False}
    assert client.get(f"{path}/report").json() == answer.json()


def test_a_report_is_written_once(client: Client, database: Database) -> None:
    job_id = certification(client, database, inputs=2, method=LIPSCHITZ)
    claim = rows.begin(database, job_id)
    rows.record(database, claim, report=rows.report(4.0))
    rows.record(database, claim, report=rows.report(5.0))
    assert client.get(f"/v1/certifications/{job_id}/report").json()["upper"] == 4.0


def test_certifications_without_a_report(client: Client, database: Database) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    smoothing = post_certification(client, *ids).json()["id"]
    assert "smoothing" in problem(client.get(f"/v1/certifications/{smoothing}/report"), 404, "not-found")["detail"]
    cancelled = post_certification(client, *ids, LIPSCHITZ).json()["id"]
    client.post(f"/v1/certifications/{cancelled}/cancel")
    answer = client.get(f"/v1/certifications/{cancelled}/report")
    assert "before its bound was proved" in problem(answer, 404, "not-found")["detail"]
    assert client.get(f"/v1/certifications/{cancelled}").json()["summary"]["bound"] is None
    problem(client.get("/v1/certifications/cert_" + "0" * 32 + "/report"), 404, "not-found")


def test_an_unknown_bound_or_norm_is_refused_with_the_choices(client: Client, database: Database) -> None:
    ids = ready_model(client, database), ready_dataset(client, database)
    for name, choices in (("bound", get_args(BoundName)), ("norm", ("l2", "linf", "l1"))):
        answer = post_certification(client, *ids, LIPSCHITZ | {name: "L3"})
        [error] = problem(answer, 422, "invalid-request")["errors"]
        assert error["pointer"] == f"/method/{name}"
        assert all(f"'{choice}'" in error["message"] for choice in choices)
    methods = client.get("/v1/capabilities").json()["methods"]
    properties = next(method["schema"] for method in methods if method["kind"] == "lipschitz")["properties"]
    assert properties["bound"]["enum"] == list(get_args(BoundName))
    assert properties["norm"]["enum"] == ["l2", "linf", "l1"]
