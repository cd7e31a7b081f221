"""Certifications that can't be asked for so, or ended."""

import re
import time

import httpx
import numpy as np

from models.problems import Problem
from tests.graph.build import model, node
from tests.remedies.files import FLAT, SMOOTHING, WEIGHT, dense, inputs, npz
from tests.remedies.obey import ended, obeys, ready, refused, register
from tests.service import PATIENCE


@obeys(Problem.NOT_READY)
def test_poll_what_is_not_ready(http: httpx.Client, dataset_id: str) -> None:
    """Reading a model takes longer than asking again."""
    wide = model([node("MatMul", ["x", "w"])], (6,), {"w": np.ones((6, 4), np.float32)})
    model_id = register(http, "models", wide, input=FLAT).json()["id"]
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    answer = http.post("/v1/certifications", json=body)
    document = refused(answer, Problem.NOT_READY)
    assert model_id in document["detail"]
    deadline = time.monotonic() + PATIENCE
    while http.get(f"/v1/models/{model_id}").json()["state"] == "validating":
        assert time.monotonic() < deadline
        time.sleep(int(answer.headers["Retry-After"]))
    assert http.post("/v1/certifications", json=body).status_code == 202


@obeys(Problem.SUBSET_OUT_OF_RANGE)
def test_choose_a_subset_that_is_there(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    answer = http.post("/v1/certifications", json=body | {"subset": {"start": 2, "stop": 900}})
    count = re.search(r"has (\d+) inputs", refused(answer, Problem.SUBSET_OUT_OF_RANGE)["detail"])[1]  # type: ignore[index]
    subset = {"start": 2, "stop": int(count)}
    assert http.post("/v1/certifications", json=body | {"subset": subset}).status_code == 202


@obeys(Problem.UNFIT_BATCH)
def test_ask_for_the_others(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    good = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    items = [good, good | {"subset": {"start": 2, "stop": 900}}, good | {"subset": {"stop": 1}}]
    document = refused(http.post("/v1/batches", json={"items": items}), Problem.UNFIT_BATCH)
    (misfit,) = document["misfits"]
    assert misfit["type"] == f"/problems/{Problem.SUBSET_OUT_OF_RANGE.slug}" and misfit["remedy"]
    bad = {item["index"] for item in misfit["items"]}
    others = [item for index, item in enumerate(items) if index not in bad]
    answer = http.post("/v1/batches", json={"items": others})
    assert (answer.status_code, answer.json()["progress"]["total"]) == (202, 2)


@obeys(Problem.SUBSET_TOO_LARGE)
def test_certify_it_in_several_subsets(http: httpx.Client, model_id: str) -> None:
    large = ready(http, "datasets", npz(x=inputs(100_001)))
    body = {"model_id": model_id, "dataset_id": large, "method": SMOOTHING | {"n": 200_000}}
    document = refused(http.post("/v1/certifications", json=body), Problem.SUBSET_TOO_LARGE)
    assert int(re.search(r"takes (\d+)", document["detail"])[1]) == 100_000  # type: ignore[index]
    for subset in ({"stop": 3}, {"start": 99_999}):
        answer = http.post("/v1/certifications", json=body | {"subset": subset})
        assert answer.status_code == 202
        http.post(f"{answer.headers['location']}/cancel")


@obeys(Problem.IMPRECISE_NETWORK)
def test_leave_the_precision_out(http: httpx.Client) -> None:
    """A network that adds 1e4 and takes it off again: of its logits bfloat16 leaves nothing."""
    big = {"w": WEIGHT, "b": np.full(3, 1e4, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"], "a"), node("Sub", ["a", "b"])]
    body = {"model_id": ready(http, "models", model(nodes, (6,), big), input=FLAT), "inputs": inputs().tolist()}
    ask = {"kind": "prediction", "sigma": 0.1, "n": 500}
    job = ended(http, http.post("/v1/certifications", json=body | {"method": ask | {"precision": "bfloat16"}}))
    assert "Leave `precision` out" in refused(job, Problem.IMPRECISE_NETWORK)["remedy"]
    job = ended(http, http.post("/v1/certifications", json=body | {"method": ask}))
    assert job["state"] == "succeeded"


@obeys(Problem.FAILED)
def test_the_cause_of_a_failure_says_what_to_do(http: httpx.Client) -> None:
    big = {"w": WEIGHT, "b": np.full(3, 2e4, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "z"), node("Add", ["z", "b"], "a"), node("Sub", ["a", "b"])]
    body = {"model_id": ready(http, "models", model(nodes, (6,), big), input=FLAT), "inputs": inputs().tolist()}
    job = ended(http, http.post("/v1/certifications", json=body | {"method": SMOOTHING | {"precision": "bfloat16"}}))
    document = refused(http.get(f"/v1/certifications/{job['id']}/curve"), Problem.FAILED)
    assert "Leave `precision` out" in refused({"problem": document["cause"]}, Problem.IMPRECISE_NETWORK)["remedy"]
    job = ended(http, http.post("/v1/certifications", json=body | {"method": SMOOTHING}))
    assert http.get(f"/v1/certifications/{job['id']}/curve").status_code == 200


@obeys(Problem.INCOMPLETE)
def test_wait_for_the_end_or_start_anew(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING | {"n": 10**9}}
    where = http.post("/v1/certifications", json=body).headers["location"]
    for _ in range(2):  # of one that runs, and of the same when it is cancelled
        document = refused(http.get(f"{where}/curve", params={"radius": 0.1}), Problem.INCOMPLETE)
        assert http.get(f"{where}/curve").json()["complete"] is False
        http.post(f"{where}/cancel")
    assert "start a new one" in document["remedy"]
    job = ended(http, http.post("/v1/certifications", json=body | {"method": SMOOTHING}))
    assert job["state"] == "succeeded"
    curve = http.get(f"/v1/certifications/{job['id']}/curve", params={"radius": 0.1}).json()
    assert curve["complete"] and curve["at"]["radius"] == 0.1


@obeys(Problem.ALREADY_ENDED)
def test_start_a_new_certification(http: httpx.Client, model_id: str, dataset_id: str) -> None:
    body = {"model_id": model_id, "dataset_id": dataset_id, "method": SMOOTHING}
    answer = http.post("/v1/certifications", json=body)
    ended(http, answer)
    document = refused(http.post(f"{answer.headers['location']}/cancel"), Problem.ALREADY_ENDED)
    assert "start a new certification" in document["remedy"]
    again = http.post("/v1/certifications", json=body)
    assert again.status_code == 202 and again.json()["id"] != answer.json()["id"]


def test_a_denoiser_is_registered_as_one(http: httpx.Client, dataset_id: str) -> None:
    same = model([node("Mul", ["x", "half"])], (6,), {"half": np.full(6, 0.5, np.float32)})
    network = ready(http, "models", dense(), input=FLAT)
    body = {"model_id": network, "dataset_id": dataset_id, "method": SMOOTHING}
    wrong = ready(http, "models", same, input=FLAT)
    document = refused(
        http.post("/v1/certifications", json=body | {"denoiser_model_id": wrong}), Problem.INVALID_REQUEST
    )
    task = re.search(r"task = (\w+)", document["detail"])[1]  # type: ignore[index]
    right = ready(http, "models", same, input=FLAT, task=task)
    assert http.post("/v1/certifications", json=body | {"denoiser_model_id": right}).status_code == 202
