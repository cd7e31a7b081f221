from typing import Any

from httpx import Client

from models.database import Database
from tests.app import rows
from tests.app.calls import post_certification, post_model, problem, ready_dataset, ready_model


def ready_denoiser(client: Client, database: Database, data: bytes = b"\x08\x0a denoiser", **found: object) -> str:
    model = post_model(client, data, task="denoiser").json()
    assert model["task"] == "denoiser"
    rows.accept(database, model["id"], **found)
    return str(model["id"])


def test_a_certification_behind_a_denoiser(client: Client, database: Database) -> None:
    model, dataset = ready_model(client, database), ready_dataset(client, database)
    denoiser = ready_denoiser(client, database)
    job = post_certification(client, model, dataset, denoiser_model_id=denoiser).json()
    assert job["denoiser_model_id"] == denoiser
    assert client.get(f"/v1/certifications/{job['id']}").json()["denoiser_model_id"] == denoiser
    plain = post_certification(client, model, dataset).json()
    assert plain["denoiser_model_id"] is None
    assert client.get(f"/v1/models/{model}").json()["task"] == "classifier"


def test_what_is_no_denoiser_of_that_model_is_refused(client: Client, database: Database) -> None:
    model, dataset = ready_model(client, database), ready_dataset(client, database)
    denoiser = ready_denoiser(client, database)

    def refused(status: int, slug: str, front: str, **fields: Any) -> str:
        fields = {"denoiser_model_id": front} | fields
        return str(problem(post_certification(client, model, dataset, **fields), status, slug))

    assert "task = denoiser" in refused(422, "invalid-request", model)
    assert "belongs to smoothing" in refused(422, "invalid-request", denoiser, method={"kind": "lipschitz"})
    assert "there is no model" in refused(422, "invalid-request", "mdl_" + "0" * 32)
    wide = ready_denoiser(client, database, b"\x08\x0a wide", input_shape=[1, 9, 9])
    assert "(1, 9, 9)" in refused(422, "shape-mismatch", wide)
    waiting = post_model(client, b"\x08\x0a waiting", task="denoiser").json()["id"]
    refused(409, "not-ready", waiting)
    swapped = str(problem(post_certification(client, denoiser, dataset), 422, "invalid-request"))
    assert "is a denoiser" in swapped and "denoiser_model_id" in swapped


def test_a_denoiser_is_an_onnx_file_without_classes(client: Client) -> None:
    canonical = post_model(client, b'{"format": 1}', task="denoiser")
    assert "ONNX" in str(problem(canonical, 422, "invalid-request"))
    labelled = post_model(client, b"\x08\x0a denoiser", task="denoiser", labels=["a", "b"])
    assert "no classes" in str(problem(labelled, 422, "invalid-request"))
    assert post_model(client, b"\x08\x0a x", task="translator").status_code == 422
