"""`radii predict`, against the real service."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from radii.client import ProblemError
from tests.cli.conftest import DIGITS, Radii
from tests.service import Service

MODEL, DATA = (str(DIGITS / name) for name in ("digits.onnx", "digits.npz"))


def test_answers_one_by_one_as_json_in_a_file_and_of_the_client(radii: Radii, service: Service, folder: Path) -> None:
    question = ("predict", MODEL, DATA, "--sigma", "1", "--n", "100", "--subset", "0:8")
    done = radii(*question, "--json", "-o", "answers.jsonl")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    rows = job["results"]
    assert rows == [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert all((row["radius"], row["norm"], sum(row["counts"])) == (None, None, 100) for row in rows)
    assert all((row["p_value"] > 0.001) is row["abstained"] is (row["prediction"] is None) for row in rows)

    shown = radii(*question)  # the same votes
    assert shown.returncode == 0, shown.stderr
    assert "predicting: 100 %" in shown.stderr
    said = [line.split("│")[1:-1] for line in shown.stdout.splitlines() if line.startswith("│")]
    labels = np.load(DATA)["y"]
    answers = ["abstained" if row["abstained"] else str(row["prediction"]) for row in rows]
    assert [[cell.strip() for cell in cells[:3]] for cells in said] == [
        [str(i), str(labels[i]), answers[i]] for i in range(8)
    ]
    assert all(float(cells[3]) >= row["p_value"] for cells, row in zip(said, rows, strict=True))
    assert re.search(r"method +prediction sigma 1\.0 alpha 0\.001 n 100", shown.stdout)
    assert "radius" not in shown.stdout and "certified" not in shown.stdout
    narrow = radii(*question, "--precision", "bfloat16")  # votes of another classifier
    assert narrow.returncode == 0, narrow.stderr
    assert re.search(r"method +prediction sigma 1\.0 alpha 0\.001 precision bfloat16 n 100", narrow.stdout)
    again = radii("jobs", job["id"])
    assert again.returncode == 0 and "radius" not in again.stdout
    assert radii("results", job["id"], "--json").stdout == (folder / "answers.jsonl").read_text()

    with service.client() as client:  # inputs without a data set: the same inputs, so the same votes
        found = client.predict(job["model_id"], np.load(DATA)["x"][:8], job["method"])
        assert [(row["counts"], row["reused"]) for row in found] == [(row["counts"], 100) for row in rows]
        with pytest.raises(ProblemError, match="/inputs/0/0/0/1"):
            client.predict(job["model_id"], np.full((1, 1, 8, 8), [0, 2] * 4), job["method"])


def test_what_cannot_be_right_says_so(radii: Radii) -> None:
    done = radii("predict", MODEL, DATA)
    assert done.returncode == 2 and "prediction needs --sigma" in done.stderr
    done = radii("predict", MODEL, DATA, "--sigma", "1", "--n", "3")
    assert done.returncode == 2 and "Use n >= 11" in done.stderr
