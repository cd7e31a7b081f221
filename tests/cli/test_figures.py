"""Summary, curve and rows of one certification say the same, by their definitions; against the real service."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from app.figures import Summary
from radii.client import Client
from radii.methods import KINDS
from tests.cli.conftest import DIGITS
from tests.graph.build import model as onnx_model
from tests.graph.build import node
from tests.service import Service

Json = dict[str, Any]
DATA = np.load(DIGITS / "digits.npz")
EIGHT_BIT = np.round(DATA["x"][:4] * 255).astype(np.float32) / np.float32(255)
ROWS = slice(0, 60)


def digits(client: Client) -> tuple[str, str]:
    """Ids of model and data set, ready."""
    model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
    return model["id"], client.wait(client.create_dataset(DIGITS / "digits.npz"))["id"]


def certified(client: Client, model: str, data: str, inputs: slice = ROWS, **method: Any) -> tuple[Json, list[Json]]:
    """A certification of the digits that has succeeded, and its rows."""
    job = client.wait(client.create_certification(model, data, method, subset=inputs))
    assert job["state"] == "succeeded"
    return job, list(client.results(job["id"]))


def test_an_abstained_input_is_right_for_no_one(service: Service) -> None:
    """The same g, certified and predicted, under so much noise that both abstain somewhere."""
    with service.client() as client:
        ids = digits(client)
        answers = {
            "certified": certified(client, *ids, kind="smoothing", sigma=0.8, n=100, cross_check=0),
            "predicted": certified(client, *ids, kind="prediction", sigma=0.8, n=100),
        }
    for job, rows in answers.values():
        figures, abstained = job["summary"], [row for row in rows if row["abstained"]]
        assert (len(abstained), figures["inputs"]) == (figures["abstained"], 60) and 0 < len(abstained) < 60
        assert all(row["prediction"] is None is row["radius"] for row in abstained)
        right = [not row["abstained"] and row["prediction"] == row["label"] for row in rows]
        assert figures["accuracy"] == pytest.approx(sum(right) / 60)
    (_, certifies), (_, predicts) = answers.values()
    both = [(a["prediction"], b["prediction"]) for a, b in zip(certifies, predicts, strict=True) if not a["abstained"]]
    assert all(theirs in (ours, None) for ours, theirs in both)  # false with 120 alpha at most: 0.12, and far less
    # The pilot was often right where nothing could be certified, which is no answer of g.
    assert any(row["abstained"] and row["pilot_class"] == row["label"] for row in certifies)


def test_certified_accuracy_is_what_the_rows_say(service: Service) -> None:
    with service.client() as client:
        ids = digits(client)
        job, rows = certified(client, *ids, kind="smoothing", sigma=0.25, n=200, cross_check=0)
        decision, decided = certified(
            client, *ids, kind="smoothing", sigma=0.25, n=2000, mode="decide", target_radius=0.25, cross_check=0
        )

        def truth(rows: list[Json], r: float) -> float:
            reached = [row["radius"] is not None and row["radius"] >= r for row in rows]
            return sum(row["prediction"] == row["label"] for row, far in zip(rows, reached, strict=True) if far) / 60

        points = client.curve(job["id"])["points"]
        for r in (0.0, 0.1, 0.25, 0.4, 5.0, *(row["radius"] for row in rows[:5] if not row["abstained"])):
            answer = client.curve(job["id"], radius=r)["at"]
            assert answer == {"radius": r, "certified_accuracy": pytest.approx(truth(rows, r))}
            read = next((point["certified_accuracy"] for point in points if point["radius"] >= r), 0.0)
            assert read == answer["certified_accuracy"]
        at_target = {"radius": 0.25, "certified_accuracy": pytest.approx(truth(decided, 0.25))}
        assert decision["summary"]["at_target"] == client.curve(decision["id"], radius=0.25)["at"] == at_target
        assert client.curve(decision["id"], radius=0.26)["at"] == {"radius": 0.26, "certified_accuracy": None}
    for row in decided:
        assert row["abstained"] is (row["prediction"] is None) is (row["decision"] != "certified")


def test_no_figure_is_undefined(service: Service, tmp_path: Path) -> None:
    """Of every kind of method: what rows and summary have, docs/figures.md and the schemas define."""
    weight = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    regressor = tmp_path / "two.onnx"
    regressor.write_bytes(
        onnx_model([node("Flatten", ["x"], "z"), node("MatMul", ["z", "w"])], (1, 8, 8), {"w": weight})
    )
    with service.client() as client:
        classifier, _ = digits(client)
        task = client.wait(client.create_model(regressor, shape=[1, 8, 8], task="regressor"))["id"]
        smoothing = {"kind": "smoothing", "sigma": 0.1, "n": 200}
        questions: list[Json] = [
            {**smoothing, "cross_check": 4},
            {**smoothing, "sigma": 0.11, "scores": "soft"},
            {**smoothing, "sigma": 0.1, "mode": "decide", "target_radius": 0.05},
            {"kind": "lipschitz", "cross_check": 4},
            {"kind": "local", "norm": "linf", "box": True, "cross_check": 4},
            {"kind": "local", "effort": "quick", "target_radius": 0.01},
            {"kind": "splitting", "sigma": 0.1, "cross_check": 4},
            {"kind": "prediction", "sigma": 0.1, "n": 100},
            {"kind": "median", "sigma": 0.1, "radius": 0.05, "n": 200},
        ]
        for question in questions:
            model = task if question["kind"] == "median" else classifier
            job = client.wait(client.create_certification(model, None, question, inputs=EIGHT_BIT))
            rows = list(client.results(job["id"]))
            assert len(rows) == 4
            assert not Summary.model_validate(job["summary"]).model_extra
            if (report := KINDS[question["kind"]].report) is not None:
                assert client.report(job["id"]).keys() == report.model_fields.keys()
            result = KINDS[question["kind"]].result
            for row in rows:
                read = result.model_validate(row)
                parts = [read, *(getattr(read, name, None) for name in ("attack", "scores"))]
                assert not any(part.model_extra for part in parts if isinstance(part, BaseModel))
                assert (row["kind"], row["version"]) == (question["kind"], 1)
