"""`radii median`, against the real service."""

import json
import re
from pathlib import Path

import numpy as np

from tests.cli.conftest import Radii
from tests.graph.build import model, node
from tests.service import Service

RNG = np.random.default_rng(3)
WEIGHT = RNG.normal(size=(6, 2)).astype(np.float32)
INPUTS = RNG.uniform(size=(3, 6)).astype(np.float32)


def test_bounds_one_by_one_as_json_in_a_file_and_of_the_client(radii: Radii, service: Service, folder: Path) -> None:
    (folder / "linear.onnx").write_bytes(model([node("MatMul", ["x", "w"])], (6,), {"w": WEIGHT}))
    np.savez(folder / "inputs.npz", x=INPUTS)
    question = ["median", "linear.onnx", "inputs.npz", "--sigma", "0.5", "--radius", "0.25", "--n", "2000"]
    question += ["--alpha", "1e-6"]
    done = radii(*question, "--json", "-o", "bounds.jsonl")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    rows = job["results"]
    assert rows == [json.loads(line) for line in (folder / "bounds.jsonl").read_text().splitlines()]
    values, slopes = INPUTS.astype(np.float64) @ WEIGHT, np.linalg.norm(WEIGHT.astype(np.float64), axis=0)
    for row, exact in zip(rows, values, strict=True):  # false with probability 1e-6
        assert (row["radius"], row["norm"], row["n"], row["label"]) == (0.25, "l2", 2000, None)
        assert (np.array(row["lower"]) <= exact - 0.25 * slopes).all()
        assert (np.array(row["upper"]) >= exact + 0.25 * slopes).all()
        assert (np.array(row["upper"]) - row["lower"] < 2 * slopes).all()  # and yet they say something

    shown = radii(*question)  # the same samples
    assert shown.returncode == 0, shown.stderr
    assert "bounding medians: 100 %" in shown.stderr
    said = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if line[:1] == "│"]
    assert [cells[:2] for cells in said] == [[str(i), str(j)] for i in range(3) for j in range(2)]
    for i, j, _, lower, upper in said:
        row = rows[int(i)]
        assert float(lower) <= row["lower"][int(j)] < float(lower) + 1e-5
        assert float(upper) - 1e-5 < row["upper"][int(j)] <= float(upper)
    assert re.search(r"method +median sigma 0\.5 alpha 1e-06 radius 0\.25 n 2,000", shown.stdout)
    assert "certified" not in shown.stdout and "accuracy" not in shown.stdout
    assert re.search(r"ready +linear  \(regressor\)", radii("models").stdout)
    assert radii("jobs", job["id"]).returncode == 0
    assert radii("results", job["id"], "--json").stdout == (folder / "bounds.jsonl").read_text()

    with service.client() as client:  # inputs without a data set: the same inputs, so the same bounds
        found = client.median(job["model_id"], INPUTS, job["method"])
        kept = ("lower", "upper", "executor")
        assert [[row[name] for name in kept] for row in found] == [[row[name] for name in kept] for row in rows]
        assert [row["reused"] for row in found] == [2000] * 3


def test_what_cannot_be_right_says_so(radii: Radii, folder: Path) -> None:
    for name in ("one.onnx", "one.npz"):
        (folder / name).write_bytes(b"")
    done = radii("median", "one.onnx", "one.npz", "--sigma", "1")
    assert done.returncode == 2 and "median needs --radius" in done.stderr
    done = radii("median", "one.onnx", "one.npz", "--sigma", "1", "--radius", "1", "--n", "3")
    assert done.returncode == 2 and "Use n >= 44" in done.stderr
