from httpx import Client

from models.bell import Bell
from models.database import Database
from models.problems import Problem
from tests.app import rows
from tests.app.calls import NPZ, post_dataset, problem, ready_dataset, upload


def test_from_validating_to_ready(client: Client, database: Database, bells: list[Bell]) -> None:
    answer = post_dataset(client)
    dataset = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
    assert answer.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert (dataset["state"], dataset["name"], dataset["size"]) == ("validating", "digits", len(NPZ))
    assert bells == [Bell("dataset", dataset["id"])]
    rows.accept(database, dataset["id"])
    answer = client.get(answer.headers["location"])
    assert answer.json()["state"] == "ready"
    assert "retry-after" not in answer.headers
    summary = answer.json()["summary"]
    assert (summary["count"], summary["shape"], summary["labels"]) == (100, [1, 8, 8], {"0": 60, "9": 40})
    assert not {"x_blob", "y_blob"} & set(summary)


def test_the_same_bytes_are_the_same_data_set(client: Client, bells: list[Bell]) -> None:
    first, again = post_dataset(client), post_dataset(client)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert len(bells) == 1


def test_a_rejected_data_set_says_why(client: Client, database: Database) -> None:
    dataset_id = post_dataset(client).json()["id"]
    why = Problem.INVALID_DATASET.document("x holds NaN at index 3")
    rows.reject(database, dataset_id, why)
    dataset = client.get(f"/v1/datasets/{dataset_id}").json()
    assert (dataset["state"], dataset["problem"], dataset["summary"]) == ("rejected", why, None)


def test_what_is_no_npz_is_refused(client: Client) -> None:
    for data in (b"\x93NUMPY\x01", b"1,2,3", b"\x80\x04", b"P", b"PK\x05\x06"):
        problem(post_dataset(client, data), 415, "unsupported-dataset-format")


def test_fields_that_are_not_there(client: Client) -> None:
    answer = client.post("/v1/datasets", json={"upload_id": upload(client, NPZ), "name": "x", "range": [0, 1]})
    assert problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "/range"
    answer = client.post("/v1/datasets", json={"upload_id": "upl_" + "0" * 32, "name": "x"})
    assert problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "/upload_id"


def test_data_sets_are_listed(client: Client, database: Database) -> None:
    made = [ready_dataset(client, database, NPZ + bytes([number])) for number in range(2)]
    page = client.get("/v1/datasets").json()
    assert ({dataset["id"] for dataset in page["items"]}, page["next_cursor"]) == (set(made), None)
