"""A new kind of method is a room, a file that computes, and its registration: added to a copy of the code, it runs."""

import re
import shutil
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest

from radii.client import ProblemError
from tests.service import Service, running

ROOT = Path(__file__).parent.parent.parent
CODE = ("app", "migrations", "models", "radii", "workers")
DIGITS = ROOT / "examples" / "digits"
ROOM = Path(__file__).parent / "constant"
REGISTRY = "radii/methods/__init__.py"


def with_constant(checkout: Path) -> set[str]:
    """Copy the code and add the method ``constant`` to it; what that touched."""
    for name in CODE:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    ignored = shutil.ignore_patterns("compute.py", "__pycache__")
    shutil.copytree(ROOM, checkout / "radii" / "methods" / "constant", ignore=ignored)
    shutil.copy(ROOM / "compute.py", checkout / "workers" / "methods" / "constant.py")
    registry = checkout / REGISTRY
    text = re.sub(r"(?ms)^(METHODS\b.*?)^\)", r"\1    Constant,\n)", registry.read_text())
    line = "from radii.methods.lipschitz.method import Lipschitz\n"
    registry.write_text(text.replace(line, f"from radii.methods.constant.method import Constant\n{line}"))
    after = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    return {str(path.relative_to(checkout)) for path in after if after[path] != before.get(path)}


@pytest.fixture(scope="module")
def answers() -> list[int]:
    """Classes of the first digits, by another program."""
    session = onnxruntime.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    x = np.load(DIGITS / "digits.npz")["x"][:10]
    return [int(session.run(None, {session.get_inputs()[0].name: row[None]})[0].argmax()) for row in x]


def test_a_method_is_its_room_its_computing_and_a_registration(tmp_path: Path, answers: list[int]) -> None:
    room = [f"radii/methods/constant/{name}.py" for name in ("__init__", "method", "result")]
    assert with_constant(tmp_path / "code") == {*room, "workers/methods/constant.py", REGISTRY}
    with running(tmp_path / "data", checkout=tmp_path / "code") as service, service.client() as client:
        model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))["id"]
        data = client.wait(client.create_dataset(DIGITS / "digits.npz"))["id"]
        labels = np.load(DIGITS / "digits.npz")["y"][:10].tolist()
        for asked, times in (({}, 3), ({"times": 2}, 2), ({}, 3)):
            question = {"kind": "constant", **asked}
            job = client.wait(client.create_certification(model, data, question, subset=slice(0, 10)))
            progress = {"done": 10 * times, "total": 10 * times, "unit": "inputs", "fraction": 1.0, "phase": "ended"}
            assert job["state"] == "succeeded" and job["progress"].items() >= progress.items()
            assert job["method"] == {"kind": "constant", "times": times}
            right = sum(a == b for a, b in zip(answers, labels, strict=True)) / 10
            figures = {"inputs": 10, "inputs_asked": 10, "complete": True, "abstained": 0, "accuracy": right}
            assert job["summary"].items() >= figures.items() and job["summary"]["median_radius"] is None
            rows = list(client.results(job["id"]))
            assert [row["index"] for row in rows] == list(range(10))
            assert [(row["label"], row["prediction"]) for row in rows] == list(zip(labels, answers, strict=True))
            said = {(row["kind"], row["version"], row["radius"], row["abstained"], row["asked"]) for row in rows}
            assert said == {("constant", 2, 0.0, False, times)}
        assert {"answered_by" in row for row in rows} == {True}  # the last question is the first again
        with pytest.raises(ProblemError, match="no curve") as refusal:
            client.curve(job["id"])
        assert refusal.value.document["status"] == 404
        documented(service, rows[0])


def documented(service: Service, row: dict[str, object]) -> None:
    """The API's own documents say what the method takes, and what it says of an input."""
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers) as http:
        methods = {one["kind"]: one["schema"] for one in http.get("/v1/capabilities").json()["methods"]}
        schemas = http.get("/openapi.json").json()["components"]["schemas"]
    assert methods["constant"]["properties"]["times"]["default"] == 3
    results = schemas["ResultPage"]["properties"]["items"]["items"]
    assert results["discriminator"]["mapping"]["constant"] == "#/components/schemas/ConstantResult"
    schema = schemas["ConstantResult"]
    assert schema["properties"]["kind"]["const"] == "constant" and schema["properties"]["version"]["enum"] == [1, 2]
    assert set(schema["required"]) <= row.keys() <= schema["properties"].keys()
