"""Calls that many tests make on the way to what they test."""

from typing import Any

from httpx import Client, Response

from models.database import Database
from tests.app import rows

INPUT = {"shape": [1, 8, 8], "range": [0, 1], "mean": 0, "std": 1}
ONNX = b"\x08\x0a\x12\x07pytorch"
NPZ = b"PK\x03\x04 inputs"


def upload(client: Client, data: bytes) -> str:
    """The id of an upload of ``data``."""
    answer = client.post("/v1/uploads", content=data)
    assert answer.status_code == 201, answer.text
    upload_id: str = answer.json()["id"]
    return upload_id


def post_model(client: Client, data: bytes = ONNX, **fields: Any) -> Response:
    """The answer to a new model."""
    return client.post(
        "/v1/models", json={"upload_id": upload(client, data), "name": "digits", "input": INPUT} | fields
    )


def post_dataset(client: Client, data: bytes = NPZ) -> Response:
    """The answer to a new data set."""
    return client.post("/v1/datasets", json={"upload_id": upload(client, data), "name": "digits"})


def ready_model(client: Client, database: Database, data: bytes = ONNX, **found: Any) -> str:
    """The id of a model that intake accepted."""
    model_id: str = post_model(client, data).json()["id"]
    rows.accept(database, model_id, **found)
    return model_id


def ready_dataset(client: Client, database: Database, data: bytes = NPZ, **found: Any) -> str:
    """The id of a data set that intake accepted."""
    dataset_id: str = post_dataset(client, data).json()["id"]
    rows.accept(database, dataset_id, **found)
    return dataset_id


def post_certification(
    client: Client, model_id: str, dataset_id: str, method: dict[str, Any] = rows.SMOOTHING, **fields: Any
) -> Response:
    """The answer to a new certification."""
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": method} | fields
    return client.post("/v1/certifications", json=body)


def certification(client: Client, database: Database, inputs: int = 4, **fields: Any) -> str:
    """The id of a queued certification of the first ``inputs`` inputs."""
    ids = ready_model(client, database), ready_dataset(client, database, count=max(inputs, 100))
    answer = post_certification(client, *ids, subset={"stop": inputs}, **fields)
    assert answer.status_code == 202, answer.text
    certification_id: str = answer.json()["id"]
    return certification_id


def problem(answer: Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of ``answer``, which must be a whole one of that status and slug."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (document["type"], document["status"]) == (f"/problems/{slug}", status)
    assert document["title"] and document["detail"] and document["remedy"]
    return document
