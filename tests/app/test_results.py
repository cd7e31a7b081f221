import json
import math
from fractions import Fraction
from typing import Any

import pytest
from httpx import Client

from app.routes.results import toward_zero
from models import cross_check
from models.curve import READING
from models.database import Database
from models.repositories.chunks import InputResult
from models.tables import Certification
from tests.app import rows
from tests.app.calls import certification, problem

LABELLED = [
    rows.smoothed(0, 3, 3, 0.5),  # right
    rows.smoothed(1, 3, None, None),  # abstains
    rows.smoothed(2, 3, 5, 0.9),  # certified, but wrong
    rows.smoothed(3, 3, 3, 0.25),  # right
]


def recorded(client: Client, database: Database, results: list[InputResult] = LABELLED, **fields: Any) -> str:
    """Path of a running certification with ``results``."""
    job_id = certification(client, database, inputs=5, **fields)
    rows.record(database, rows.begin(database, job_id), results)
    return f"/v1/certifications/{job_id}"


def test_abstention_is_null_and_said(client: Client, database: Database) -> None:
    path = recorded(client, database)
    page = client.get(f"{path}/results").json()
    assert (page["next_cursor"], page["norm"]) == (None, "l2")
    assert page["units"].startswith("input values")
    assert page["items"][0] == {
        "kind": "smoothing",
        "version": 1,
        "index": 0,
        "label": 3,
        "prediction": 3,
        "radius": 0.5,
        "abstained": False,
        "norm": "l2",
        **LABELLED[0].detail,
    }
    assert LABELLED[1].detail["pilot_class"] == 0
    assert page["items"][1] == {
        "kind": "smoothing",
        "version": 1,
        "index": 1,
        "label": 3,
        "prediction": None,
        "radius": None,
        "abstained": True,
        "norm": "l2",
        **LABELLED[1].detail,
    }


def test_pages_and_json_lines_give_the_same_rows(client: Client, database: Database) -> None:
    path = recorded(client, database)
    whole = client.get(f"{path}/results").json()["items"]
    first = client.get(f"{path}/results?limit=3").json()
    rest = client.get(f"{path}/results", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == whole
    assert ([len(first["items"]), len(rest["items"])], rest["next_cursor"]) == ([3, 1], None)

    def lines(query: str = "", accept: str = "application/jsonl") -> list[object]:
        answer = client.get(f"{path}/results{query}", headers={"Accept": accept})
        assert answer.headers["content-type"].partition(";")[0] in accept
        return [json.loads(line) for line in answer.text.splitlines()]

    assert lines() == lines(accept="application/x-ndjson") == whole
    assert lines(accept="application/json;q=0.5, application/jsonl") == whole
    assert (lines("?cursor=1"), lines("?limit=1"), lines("?cursor=3")) == (whole[2:], whole[:1], [])
    for accept in ("application/json", "*/*", "", "application/jsonl;q=0.1, application/json", "text/html"):
        answer = client.get(f"{path}/results", headers={"Accept": accept})
        assert answer.json()["items"] == whole
    document = problem(client.get(f"{path}/results?cursor=4294967296"), 422, "invalid-request")
    assert document["errors"][0]["parameter"] == "cursor"


def test_json_lines_of_more_than_a_fetch(client: Client, database: Database) -> None:
    job_id = certification(client, database, inputs=2500, method={"kind": "lipschitz"})
    results = [rows.bounded(index, None, 0, 0.5) for index in range(2500)]
    rows.record(database, rows.begin(database, job_id), results)
    with client.stream(
        "GET", f"/v1/certifications/{job_id}/results", headers={"Accept": "application/jsonl"}
    ) as answer:
        assert [json.loads(line)["index"] for line in answer.iter_lines()] == list(range(2500))


def test_no_results_yet(client: Client, database: Database) -> None:
    path = f"/v1/certifications/{certification(client, database)}"
    page = client.get(f"{path}/results").json()
    assert (page["items"], page["next_cursor"]) == ([], None)
    answer = client.get(f"{path}/results", headers={"Accept": "application/jsonl"})
    assert (answer.status_code, answer.text) == (200, "")
    assert client.get(f"{path}/curve").json()["points"] == []
    nothing = "/v1/certifications/cert_" + "0" * 32
    for call in ("results", "curve"):
        problem(client.get(f"{nothing}/{call}"), 404, "not-found")
    problem(client.post(f"{nothing}/cancel"), 404, "not-found")


def test_the_curve_by_hand(client: Client, database: Database) -> None:
    curve = client.get(f"{recorded(client, database)}/curve").json()
    # of four inputs two are right and certified: at 0.5 and at 0.25; the wrong one and the abstention never count
    assert curve["points"] == [
        {"radius": 0.0, "certified_accuracy": 0.5},
        {"radius": 0.25, "certified_accuracy": 0.5},
        {"radius": 0.5, "certified_accuracy": 0.25},
    ]
    assert (curve["inputs"], curve["inputs_asked"], curve["complete"], curve["labelled"]) == (4, 5, False, True)
    assert (curve["reading"], curve["known_up_to"], curve["at"]) == (READING, None, None)
    assert curve["band"] == {"level": 0.95, "half_width": pytest.approx(math.sqrt(math.log(40) / 8))}


def test_certified_accuracy_at_an_asked_radius_is_of_all_inputs_or_refused(client: Client, database: Database) -> None:
    job_id = certification(client, database)
    path = f"/v1/certifications/{job_id}/curve"
    claim = rows.begin(database, job_id)
    rows.record(database, claim, LABELLED[:3])
    refused = client.get(f"{path}?radius=0.25")
    assert "running with results of 3 of 4 inputs" in problem(refused, 409, "incomplete")["detail"]
    assert refused.headers["retry-after"] == "1"
    assert client.get(path).json()["complete"] is False  # the remedy
    rows.record(database, claim, LABELLED[3:])
    rows.finish(database, claim)
    asked = {r: client.get(path, params={"radius": r}).json() for r in (0, 0.25, 0.250001, 0.5, 0.7, 1e9)}
    assert {r: document["at"] for r, document in asked.items()} == {
        r: {"radius": r, "certified_accuracy": share}
        for r, share in zip(asked, (0.5, 0.5, 0.25, 0.25, 0.0, 0.0), strict=True)
    }
    assert all(document["complete"] and document["points"] for document in asked.values())
    for wrong in ("-0.1", "nan", "inf", "many"):
        document = problem(client.get(f"{path}?radius={wrong}"), 422, "invalid-request")
        assert document["errors"][0]["parameter"] == "radius"


def test_a_cancelled_certification_says_of_how_many_inputs_it_speaks(client: Client, database: Database) -> None:
    path = recorded(client, database)
    job = client.post(f"{path}/cancel").json()
    curve = client.get(f"{path}/curve").json()
    for document in (job["summary"], curve):
        assert (document["inputs"], document["inputs_asked"], document["complete"]) == (4, 5, False)
    refused = client.get(f"{path}/curve?radius=0.25")
    assert "cancelled with results of 4 of 5 inputs" in problem(refused, 409, "incomplete")["detail"]
    assert "retry-after" not in refused.headers  # it would never be there


def test_a_certification_that_failed_certifies_nothing(client: Client, database: Database) -> None:
    """Contradicted, when all inputs had their results."""
    job_id = certification(client, database, inputs=50, method={"kind": "lipschitz"})
    with database.read() as session:
        job = session.get_one(Certification, job_id)
        assert job.model.summary is not None
        (index,) = cross_check.drawn(job.method, job.model.summary["digest"], job.indices)
    found = [rows.bounded(i, 3, 3, 0.5) for i in range(50)]
    found[index].detail["attack"] = {"distance": 0.1, "prediction": 4, "contradicted": True, "input": "0" * 64}
    claim = rows.begin(database, job_id)
    rows.record(database, claim, found)
    rows.finish(database, claim)
    job = client.get(f"/v1/certifications/{job_id}").json()
    assert (job["state"], job["problem"]["type"]) == ("failed", "/problems/contradicted")
    figures = job["summary"]
    assert (figures["inputs"], figures["inputs_asked"], figures["complete"]) == (50, 50, False)
    claims = ("accuracy", "at_target", "median_radius", "decisions")
    assert [figures[name] for name in claims] == [None] * 4
    assert figures["cross_check"]["contradicted_inputs"] == [index]
    for query in ("", "?radius=0.25"):
        document = problem(client.get(f"/v1/certifications/{job_id}/curve{query}"), 409, "failed")
        assert document["cause"] == job["problem"]
    evidence = client.get(f"/v1/certifications/{job_id}/results").json()["items"][index]
    assert evidence["attack"]["contradicted"] is True


def test_a_decision_is_known_up_to_its_radius(client: Client, database: Database) -> None:
    """A radius of more decimals than are printed of computed ones."""
    target = 0.1234567891
    method = {"kind": "smoothing", "sigma": 0.25, "n": 1000, "mode": "decide", "target_radius": target}
    job_id = certification(client, database, method=method)
    found = [rows.smoothed(i, 3, *said) for i, said in enumerate([(3, target), (3, target), (5, target), (None, None)])]
    for one in found:
        one.detail.update(decision="undecided" if one.abstained else "certified", unspent=0)
    claim = rows.begin(database, job_id)
    rows.record(database, claim, found)
    rows.finish(database, claim)
    path = f"/v1/certifications/{job_id}"
    half = {"radius": target, "certified_accuracy": 0.5}
    figures = client.get(path).json()["summary"]
    assert (figures["at_target"], figures["accuracy"], figures["median_radius"]) == (half, 0.5, None)
    assert figures["decisions"] == {"certified": 3, "not certified": 0, "undecided": 1}
    curve = client.get(f"{path}/curve?radius={target}").json()
    assert (curve["known_up_to"], curve["at"], curve["points"]) == (target, half, [half | {"radius": 0.0}, half])
    assert client.get(f"{path}/curve?radius=0.2").json()["at"] == {"radius": 0.2, "certified_accuracy": None}
    items = client.get(f"{path}/results").json()["items"]
    assert [item["radius"] for item in items] == [target] * 3 + [None]


def test_lipschitz_radii_are_floored_everywhere(client: Client, database: Database) -> None:
    radius = 0.1234567899999
    path = recorded(client, database, [rows.bounded(0, 3, 3, radius)], method={"kind": "lipschitz"})
    [item] = client.get(f"{path}/results").json()["items"]
    assert (item["radius"], item["lipschitz"], item["runner_up"]) == (0.123456789, 4.0, 4)
    assert client.get(f"{path}/curve").json()["points"][-1]["radius"] == 0.123456789


def test_the_norm_that_was_asked_is_said_wherever_a_radius_is(client: Client, database: Database) -> None:
    method = {"kind": "lipschitz", "norm": "linf"}
    path = recorded(client, database, [rows.bounded(0, 3, 3, 0.01)], method=method)
    page, curve = client.get(f"{path}/results").json(), client.get(f"{path}/curve").json()
    line = client.get(f"{path}/results", headers={"Accept": "application/jsonl"}).json()
    assert {page["norm"], page["items"][0]["norm"], line["norm"], curve["norm"]} == {"linf"}
    assert curve["units"] == page["units"] == "input values, before (x - mean) / std"


def test_toward_zero_never_goes_up() -> None:
    assert toward_zero(None) is None
    assert toward_zero(0.300001) == 0.300001  # smoothing's own decimals stay
    assert toward_zero(1.9999999999) == 1.999999999
    radius = 1e-12
    while radius < 1e300:
        floored = toward_zero(radius)
        assert floored is not None
        assert 0 <= Fraction(radius) - Fraction(floored) < Fraction(1, 10**9) + Fraction(math.ulp(radius))
        radius *= 1.0737
