"""Two tenants on one service: whatever one calls, naming whatever the other has, is answered as if that were not there.

Every call of the API is made. A new one is found by itself, and fails here by its name until it is said what to send,
by what ids, and what a list is to show: ``BODIES``, ``Others``, ``others``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from httpx import Client, Response

from models.database import Database
from models.repositories import keys
from tests.app import calls, rows

INPUTS = [[[[0.5] * 8] * 8]]
NAME = "of-the-other-tenant"


@dataclass(frozen=True)
class Others:
    """Ids of what the other tenant has, by the names that they have in paths."""

    upload_id: str
    model_id: str
    dataset_id: str
    certification_id: str
    batch_id: str
    key_id: str

    @property
    def missing(self) -> "Others":
        """Ids that look like these, of which there are none."""
        return Others(**{field.name: getattr(self, field.name)[:-6] + "000000" for field in fields(self)})


FOR_EVERYBODY = {"GET /v1/capabilities", "GET /v1/workers"}
BODIES: dict[str, Any] = {
    "POST /v1/uploads": lambda ids: calls.ONNX,
    "POST /v1/models": lambda ids: {"upload_id": ids.upload_id, "name": "mine", "input": calls.INPUT},
    "POST /v1/datasets": lambda ids: {"upload_id": ids.upload_id, "name": "mine"},
    "POST /v1/certifications": lambda ids: {
        "model_id": ids.model_id,
        "dataset_id": ids.dataset_id,
        "method": rows.SMOOTHING,
    },
    "POST /v1/certifications/{certification_id}/cancel": lambda ids: {},
    "POST /v1/batches": lambda ids: {
        "model_ids": [ids.model_id],
        "dataset_ids": [ids.dataset_id],
        "methods": [rows.SMOOTHING],
    },
    "POST /v1/batches/{batch_id}/cancel": lambda ids: {},
    "POST /v1/keys": lambda ids: {"name": "mine"},
}
"""What a call is sent, naming those ids."""


@pytest.fixture
def others(client: Client, database: Database) -> Others:
    """What the tenant of ``client`` has: one of everything, with this name."""
    named: dict[str, Any] = {"name": NAME}
    model = calls.post_model(client, **named).json()
    dataset = client.post("/v1/datasets", json={"upload_id": calls.upload(client, calls.NPZ), **named}).json()
    rows.accept(database, model["id"])
    rows.accept(database, dataset["id"])
    job = calls.post_certification(client, model["id"], dataset["id"], {"kind": "lipschitz"}, subset={"stop": 1}).json()
    claim = rows.begin(database, job["id"])
    rows.record(database, claim, [rows.bounded(0, 3, 3, 0.5)], report=rows.report())
    rows.finish(database, claim)
    combined = {"model_ids": [model["id"]], "dataset_ids": [dataset["id"]], "methods": [{"kind": "lipschitz"}]}
    batch = client.post("/v1/batches", json=combined | named).json()
    key = client.post("/v1/keys", json=named).json()
    return Others(model["upload_id"], model["id"], dataset["id"], job["id"], batch["id"], key["id"])


@pytest.fixture
def stranger(client: Client, database: Database, others: Others) -> Iterator[Client]:
    """A client of a second tenant."""
    with database.write() as session:
        keys.add(session, "stranger", "stranger", "radii_stranger")
    with Client(base_url=client.base_url, timeout=30, verify=False) as stranger:
        stranger.headers["Authorization"] = "Bearer radii_stranger"
        yield stranger


def every_call(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of every call under /v1."""
    routes = iter_route_contexts(app.routes)
    found = [(m, r.path) for r in routes for m in sorted(r.methods or ()) if r.path and r.path.startswith("/v1/")]
    assert len(found) >= 15
    return found


def sent(client: Client, method: str, path: str, ids: Others) -> Response:
    """The answer to that call, which names those ids wherever it can."""
    call = f"{method} {path}"
    unknown = set(re.findall(r"{(\w+)}", path)) - {field.name for field in fields(Others)}
    assert not unknown, f"{call}: give Others in {__name__} the id of something that another tenant has: {unknown}"
    assert method in ("GET", "DELETE") or call in BODIES, f"{call}: say in BODIES of {__name__} what to send"
    body = BODIES[call](ids) if call in BODIES else None
    sent_as = {"content": body} if isinstance(body, bytes) else {"json": body}
    return client.request(method, path.format(**vars(ids)), **({} if body is None else sent_as))


def told(answer: Response, ids: Others) -> str:
    """All that an answer says, without the ids that the call named and what differs from call to call."""
    text = answer.text
    for number, field in enumerate(fields(ids)):
        text = text.replace(getattr(ids, field.name), f"id {number}")
    return text


def test_whatever_a_tenant_calls_the_others_rows_are_not_there(
    app: FastAPI, stranger: Client, client: Client, others: Others
) -> None:
    for method, path in every_call(app):
        answer = sent(stranger, method, path, others)
        if "{" in path:
            calls.problem(answer, 404, "not-found")
            nothing = sent(stranger, method, path, others.missing)
            assert (told(answer, others), answer.status_code) == (told(nothing, others.missing), nothing.status_code)
        elif answer.is_success:
            everything = answer.text + str(answer.headers)
            assert NAME not in everything
            assert not [value for value in vars(others).values() if value in everything], f"{method} {path}"
        else:
            nothing = sent(stranger, method, path, others.missing)
            assert told(answer, others) == told(nothing, others.missing), f"{method} {path}"
    (key,) = [key for key in client.get("/v1/keys").json()["items"] if key["id"] == others.key_id]
    assert key["revoked_at"] is None


def test_they_are_there_for_whom_they_belong_to(app: FastAPI, client: Client, others: Others) -> None:
    """The same calls: what the other test finds missing is there to be found."""
    for method, path in every_call(app):
        if method == "GET":
            call, answer = f"{method} {path}", sent(client, method, path, others)
            assert answer.status_code == 200, call
            listed = (
                "{" in path or call in FOR_EVERYBODY or any(value in answer.text for value in vars(others).values())
            )
            assert listed, f"{call}: shows nothing of the fixture others in {__name__}; let it make such a row"
    assert sent(client, "POST", "/v1/models", others).json()["id"] == others.model_id
    assert sent(client, "DELETE", "/v1/keys/{key_id}", others).status_code == 200


def test_each_part_of_a_question_is_the_tenants_own(stranger: Client, database: Database, others: Others) -> None:
    own = calls.ready_model(stranger, database), calls.ready_dataset(stranger, database)
    inline = {"dataset_id": None, "inputs": INPUTS}
    for body, field in (
        ({"model_id": others.model_id}, "model_id"),
        ({"model_id": others.model_id, **inline}, "model_id"),
        ({"dataset_id": others.dataset_id}, "dataset_id"),
        ({"denoiser_model_id": others.model_id}, "denoiser_model_id"),
    ):
        asked = {"model_id": own[0], "dataset_id": own[1], "method": rows.SMOOTHING} | body
        document = calls.problem(stranger.post("/v1/certifications", json=asked), 422, "invalid-request")
        assert document["errors"][0]["pointer"] == f"/{field}" and "there is no " in document["detail"]
    answer = calls.post_model(stranger, external_data={"weights": others.upload_id})
    document = calls.problem(answer, 422, "invalid-request")
    assert document["detail"] == f"there is no upload {others.upload_id}"


def test_the_same_bytes_are_each_ones_own(client: Client, stranger: Client, database: Database, others: Others) -> None:
    """Nothing tells who comes second that somebody had them before."""
    answers = [calls.post_model(stranger), calls.post_dataset(stranger)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["state"] for answer in answers] == ["validating"] * 2
    model, dataset = (answer.json()["id"] for answer in answers)
    assert {model, dataset}.isdisjoint(vars(others).values())
    rows.accept(database, model)
    rows.accept(database, dataset)
    assert [calls.post_model(stranger).status_code, calls.post_dataset(stranger).status_code] == [200, 200]
    assert stranger.get(f"/v1/models/{model}").json()["state"] == "ready"
    calls.problem(client.get(f"/v1/models/{model}"), 404, "not-found")
    inline = [
        calls.post_certification(one, model_id, None, inputs=INPUTS).json()  # type: ignore[arg-type]
        for one, model_id in ((client, others.model_id), (stranger, model), (stranger, model))
    ]
    first, second, again = (job["dataset_id"] for job in inline)
    assert first != second == again


def test_the_same_batch_is_each_ones_own(client: Client, stranger: Client, database: Database, others: Others) -> None:
    """Nor does what a batch names tell whether another has it."""
    model, dataset = calls.ready_model(stranger, database), calls.ready_dataset(stranger, database)
    own = {"model_ids": [model], "dataset_ids": [dataset], "methods": [{"kind": "lipschitz"}]}
    answer = stranger.post("/v1/batches", json=own)
    assert answer.status_code == 202
    calls.problem(client.get(f"/v1/batches/{answer.json()['id']}"), 404, "not-found")
    mixed = own | {"model_ids": [model, others.model_id]}
    (misfit,) = calls.problem(stranger.post("/v1/batches", json=mixed), 422, "unfit-batch")["misfits"]
    assert misfit["detail"] == f"there is no model {others.model_id}"


def test_a_list_and_its_pages_are_the_tenants_own(client: Client, stranger: Client, others: Others) -> None:
    for noun in ("models", "datasets", "certifications", "batches", "keys"):
        own = {row["id"] for row in client.get(f"/v1/{noun}").json()["items"]}
        seen = stranger.get(f"/v1/{noun}", params={"limit": 1}).json()
        assert own and own.isdisjoint({row["id"] for row in seen["items"]})
        assert seen["next_cursor"] is None
    assert [key["name"] for key in stranger.get("/v1/keys").json()["items"]] == ["stranger"]


def test_the_last_key_of_a_tenant_stays_whatever_others_have(stranger: Client, client: Client) -> None:
    """Nobody else could make it another."""
    (own,) = stranger.get("/v1/keys").json()["items"]
    calls.problem(stranger.delete(f"/v1/keys/{own['id']}"), 409, "last-key")
    made = stranger.post("/v1/keys", json={"name": "second"}).json()
    stranger.headers["Authorization"] = f"Bearer {made['key']}"
    assert [key["name"] for key in stranger.get("/v1/keys").json()["items"]] == ["second", "stranger"]
    assert stranger.delete(f"/v1/keys/{own['id']}").status_code == 200
