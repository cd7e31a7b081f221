"""Stored files that are damaged or gone: sent again, they are whole again."""

import hashlib
from pathlib import Path

import httpx
import numpy as np

from models.problems import Problem
from tests.graph.build import model, node
from tests.remedies.files import FLAT, SMOOTHING, WEIGHT, inputs, npz
from tests.remedies.obey import ended, obeys, ready, refused, register
from tests.service import Service


def blob(service: Service, sha256: str) -> Path:
    return service.data_dir / "blobs" / sha256[:2] / sha256


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def another(number: float) -> bytes:
    """A network that no other test has."""
    return model([node("MatMul", ["x", "w"])], (6,), {"w": WEIGHT + np.float32(number)})


@obeys(Problem.FILE_MISSING)
def test_send_again_what_is_gone(service: Service, http: httpx.Client) -> None:
    content = npz(x=inputs(7))
    upload = http.post("/v1/uploads", content=content).json()
    blob(service, upload["sha256"]).unlink()
    body = {"upload_id": upload["id"], "name": "gone"}
    document = refused(answer := http.post("/v1/datasets", json=body), Problem.FILE_MISSING)
    assert answer.status_code == 410
    assert "Send the same file again" in document["remedy"]
    ready(http, "datasets", content)


@obeys(Problem.MODEL_UNREADABLE)
def test_send_a_damaged_model_again(service: Service, http: httpx.Client, dataset_id: str) -> None:
    content = another(0.25)
    model_id = ready(http, "models", content, input=FLAT)
    cut(blob(service, hashlib.sha256(content).hexdigest()))
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    document = refused(ended(http, http.post("/v1/certifications", json=body)), Problem.MODEL_UNREADABLE)
    assert document["remedy"].startswith("Send the model again")
    body["model_id"] = ready(http, "models", content, input=FLAT)
    assert ended(http, http.post("/v1/certifications", json=body))["state"] == "succeeded"


@obeys(Problem.DATA_UNREADABLE)
def test_send_damaged_data_again(service: Service, http: httpx.Client, model_id: str) -> None:
    x = inputs(9)
    dataset_id = ready(http, "datasets", npz(x=x))
    arrays = [file for file in (service.data_dir / "blobs").glob("??/*") if file.read_bytes().startswith(b"\x93NUMPY")]
    (prepared,) = [file for file in arrays if file.read_bytes().endswith(x.tobytes())]
    cut(prepared)
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    document = refused(ended(http, http.post("/v1/certifications", json=body)), Problem.DATA_UNREADABLE)
    assert document["remedy"].startswith("Send the data set again")
    body["dataset_id"] = ready(http, "datasets", npz(x=x))
    assert body["dataset_id"] != dataset_id
    assert ended(http, http.post("/v1/certifications", json=body))["state"] == "succeeded"


def test_an_upload_that_is_not_there_is_none_of_a_model(service: Service, http: httpx.Client) -> None:
    """Nor is the file beside it."""
    upload = http.post("/v1/uploads", content=b"weights that nobody else has").json()
    blob(service, upload["sha256"]).unlink()
    beside = {"m.data": upload["id"]}
    refused(register(http, "models", another(0.75), input=FLAT, external_data=beside), Problem.FILE_MISSING)
