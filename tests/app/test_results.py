import json
import math
from fractions import Fraction
from typing import Any

import pytest
from httpx import Client

from app.results import toward_zero
from models.database import Database
from tests.app import rows
from tests.app.calls import certification, problem

LABELLED = [
    rows.smoothed(0, 3, 3, 0.5),  # right
    rows.smoothed(1, 3, None, None),  # abstains
    rows.smoothed(2, 3, 5, 0.9),  # certified, but wrong
    rows.smoothed(3, 3, 3, 0.25),  # right
]


def recorded(client: Client, database: Database, results: list[rows.InputResult] = LABELLED, **fields: Any) -> str:
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
        "index": 0,
        "label": 3,
        "prediction": 3,
        "radius": 0.5,
        "abstained": False,
        "norm": "l2",
        **LABELLED[0].detail,
    }
    assert page["items"][1] == {
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
    assert (curve["inputs"], curve["labelled"]) == (4, True)
    assert curve["band"] == {"level": 0.95, "half_width": pytest.approx(math.sqrt(math.log(40) / 8))}


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
