"""The table of a batch, against figures that are counted here from the results."""

import csv
import io
import json
import random
import sys
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from httpx import Client

from app.routes.results import reaching, toward_zero
from models.database import Database
from models.problems import Problem
from models.repositories.chunks import InputResult
from tests.app import rows
from tests.app.calls import problem, ready_dataset, ready_model

PARQUET = "application/vnd.apache.parquet"
DECIDE = rows.SMOOTHING | {"mode": "decide", "target_radius": 0.3}
INPUTS = 40
RADII = (0.0, 0.1, 0.25, 0.30000000000000004, 0.7)
ASKED = ",".join(map(repr, RADII))


@pytest.fixture
def found() -> list[tuple[int, int | None, float | None]]:
    """Label, prediction and radius of each input; some lie at a radius that is asked for, or just below it."""
    random.seed(5)
    at = [0.1, 0.25, 0.3, 0.30000000000000004, 0.2999999999, 0.25 - 1e-10, 0.1 + 1e-12, 0.0]
    radii = at + [random.random() for _ in range(INPUTS - len(at))]
    predictions = [random.choice((3, 3, 4)) for _ in radii]
    return [(3, p, r) if k % 7 else (3, None, None) for k, (p, r) in enumerate(zip(predictions, radii, strict=True), 1)]


@pytest.fixture
def batch(client: Client, database: Database, found: list[tuple[int, int | None, float | None]]) -> dict[str, Any]:
    """A batch of which the first succeeded, without labels the second; the third decided, the fourth failed, the fifth
    runs, and the sixth waits."""
    model, dataset = ready_model(client, database), ready_dataset(client, database)
    bounds = [{"kind": "lipschitz", "budget": budget} for budget in range(1, 5)]
    methods = [*bounds[:2], DECIDE, *bounds[2:], {"kind": "prediction", "sigma": 0.25}]
    body = {"model_ids": [model], "dataset_ids": [dataset], "methods": methods, "subset": {"stop": INPUTS}}
    made = client.post("/v1/batches", json=body)
    assert made.status_code == 202, made.text
    items = client.get(f"/v1/batches/{made.json()['id']}/table").json()["items"]
    jobs = [item["certification_id"] for item in items]

    def done(job: str, results: list[InputResult]) -> None:
        claim = rows.begin(database, job)
        rows.record(database, claim, results, report=rows.report())
        rows.finish(database, claim)

    def bounded(index: int, label: int | None, prediction: int | None, radius: float | None) -> InputResult:
        return InputResult(index, label, prediction, radius, radius is None, {"seconds": 0.1})

    def decision(index: int, said: str) -> InputResult:
        result = rows.smoothed(index, 3, *((3, 0.3) if said == "certified" else (None, None)))
        return replace(result, detail=result.detail | {"decision": said})

    done(jobs[0], [bounded(index, *one) for index, one in enumerate(found)])
    done(jobs[1], [bounded(index, None, *one[1:]) for index, one in enumerate(found)])
    decided = ["certified" if radius is not None and radius >= 0.3 else "undecided" for *_, radius in found]
    done(jobs[2], [decision(index, said) for index, said in enumerate(decided)])
    claim = rows.begin(database, jobs[3])
    rows.record(database, claim, [rows.bounded(0, 3, 3, 0.5)])
    rows.fail(database, claim, Problem.OUT_OF_MEMORY.document("12 GiB were needed"))
    rows.record(database, rows.begin(database, jobs[4]), [rows.bounded(0, 3, 3, 0.5)])
    return made.json() | {"jobs": jobs, "decided": decided.count("certified")}


def test_figures_are_those_of_the_results(
    client: Client, batch: dict[str, Any], found: list[tuple[int, int | None, float | None]]
) -> None:
    items = client.get(f"/v1/batches/{batch['id']}/table", params={"radii": ASKED}).json()["items"]
    labelled, unlabelled, decided, failed, running, waiting = items

    def share(radius: float, *, labels: bool) -> float:
        """Radii are rounded down to nine decimals wherever they are shown."""
        nine = [None if r is None else Decimal(repr(r)).quantize(Decimal("1e-9"), ROUND_DOWN) for *_, r in found]
        right = [prediction == 3 or not labels for _, prediction, _ in found]
        return (
            sum(r is not None and fits and r >= Decimal(repr(radius)) for r, fits in zip(nine, right, strict=True))
            / INPUTS
        )

    for row, labels in ((labelled, True), (unlabelled, False)):
        expected = [{"radius": r, "certified_accuracy": share(r, labels=labels)} for r in RADII]
        assert row["certified_accuracy"] == expected
        assert row["abstained"] == sum(radius is None for *_, radius in found)
        assert row["median_radius"] == pytest.approx(median(radius or 0.0 for *_, radius in found), rel=1e-15)
    assert labelled["accuracy"] == sum(prediction == 3 for _, prediction, _ in found) / INPUTS
    assert unlabelled["accuracy"] is None
    at_target = batch["decided"] / INPUTS
    assert 0 < at_target < 1
    shares = [point["certified_accuracy"] for point in decided["certified_accuracy"]]
    assert shares == [at_target, at_target, at_target, None, None]  # beyond the target nobody asked
    for row, state, inputs in ((failed, "failed", 1), (running, "running", None), (waiting, "queued", None)):
        assert (row["state"], row["inputs"], row["inputs_asked"]) == (state, inputs, INPUTS)
        assert {point["certified_accuracy"] for point in row["certified_accuracy"]} <= {None}
        assert (row["accuracy"], row["median_radius"]) == (None, None)
    assert failed["problem"] == "12 GiB were needed"
    assert (waiting["kind"], waiting["certified_accuracy"], waiting["norm"]) == ("prediction", [], None)


def test_it_says_what_the_curve_says(client: Client, batch: dict[str, Any]) -> None:
    items = client.get(f"/v1/batches/{batch['id']}/table", params={"radii": ASKED}).json()["items"]
    for row in items[:3]:
        for point in row["certified_accuracy"]:
            query = {"radius": point["radius"]}
            assert client.get(f"/v1/certifications/{row['certification_id']}/curve", params=query).json()["at"] == point


def test_csv_and_parquet_have_the_same_rows(client: Client, batch: dict[str, Any]) -> None:
    path = f"/v1/batches/{batch['id']}/table"
    items = client.get(path, params={"radii": ASKED}).json()["items"]
    expected = []
    for item in items:
        points = item.pop("certified_accuracy") or [{"certified_accuracy": None}] * len(RADII)
        names = [f"certified_accuracy_at_{name}" for name in ("0", "0.1", "0.25", "0.30000000000000004", "0.7")]
        at = {name: point["certified_accuracy"] for name, point in zip(names, points, strict=True)}
        expected.append({**item, **at, "method": json.dumps(item["method"])})
    answer = client.get(path, params={"radii": ASKED}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    kept = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert kept == [{name: "" if value is None else str(value) for name, value in row.items()} for row in expected]
    answer = client.get(path, params={"radii": ASKED}, headers={"Accept": f"{PARQUET}, application/json;q=0.1"})
    assert answer.headers["content-type"] == PARQUET
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.to_pylist() == expected
    assert table.schema.field("certified_accuracy_at_0.7").type == pa.float64()
    assert table.schema.field("inputs").type == pa.int32()
    plain = pq.read_table(io.BytesIO(client.get(path, headers={"Accept": PARQUET}).content))
    assert plain.num_rows == 6 and not [name for name in plain.column_names if "certified" in name]


def test_without_pyarrow_parquet_is_refused_with_what_to_do(
    client: Client, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    path = f"/v1/batches/{batch['id']}/table"
    document = problem(client.get(path, headers={"Accept": PARQUET}), 406, "not-acceptable")
    assert "pip install pyarrow" in document["remedy"]
    assert client.get(path, headers={"Accept": f"{PARQUET}, text/csv;q=0.5"}).status_code == 406
    assert client.get(path, headers={"Accept": "text/csv"}).status_code == 200
    problem(client.get(path, headers={"Accept": "application/json;q=0, text/html"}), 406, "not-acceptable")


def test_radii_that_cannot_be(client: Client, batch: dict[str, Any]) -> None:
    for radii, words in (
        ("0.25;0.5", "give numbers, such as 0.25,0.5"),
        ("0.25,", "give numbers"),
        ("-1", "0 or more"),
        ("nan", "0 or more"),
        ("inf", "finite"),
        ("0.5,0.5", "each once"),
        (",".join(map(str, range(21))), "20 radii at most"),
    ):
        answer = client.get(f"/v1/batches/{batch['id']}/table", params={"radii": radii})
        document = problem(answer, 422, "invalid-request")
        assert words in document["detail"] and document["errors"][0]["parameter"] == "radii"


def test_what_a_radius_is_compared_with_is_the_least_that_is_shown_as_so_large() -> None:
    random.seed(7)
    for _ in range(20_000):
        scale = 10.0 ** random.randint(-10, 8)
        radius = random.choice((random.random(), round(random.random(), random.randint(1, 12)))) * scale
        near = reaching(radius) + random.choice((0.0, 1e-10, -1e-10, 1e-16, -1e-16, 1e-9, -1e-9)) * random.random()
        for shown in (near, radius, reaching(radius)):
            if 0 <= shown < 1e6 or shown >= 9.1e6:
                assert (shown >= reaching(radius)) == (toward_zero(shown) >= radius), (shown, radius)  # type: ignore[operator]
