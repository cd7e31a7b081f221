"""Splitting noise is asked about 8-bit inputs, whose range says how many evaluations one takes."""

from httpx import Client

from models.database import Database
from models.repositories import shards
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from tests.app import rows
from tests.app.calls import post_certification, problem, ready_dataset, ready_model

ASKED = {"kind": "splitting", "sigma": 0.25}
NPZ = b"PK\x03\x04 "


def test_the_cost_is_the_number_of_offsets_and_all_must_be_counted(client: Client, database: Database) -> None:
    model_id = ready_model(client, database)
    unit = ready_dataset(client, database, NPZ + b"unit", count=4, grid=[0.0, 1.0])
    answer = post_certification(client, model_id, unit, method=ASKED)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["method"] == ASKED | {"norm": "l1", "cross_check": None}
    # 2 sqrt(3) 0.25 255 = 220.8
    assert (job["progress"]["total"], job["progress"]["unit"]) == (4 * 221, "samples")

    claim = rows.begin(database, job["id"])
    detail = {"counts": [200, 20, 1, *[0] * 8], "n": 221, "steps": 90, "noise": "splitting", "seconds": 0.1}
    result = InputResult(0, 3, 0, 0.352941, False, detail)
    for missing in (True, False):
        counts = [199 if missing else 200, 20, 1, *[0] * 8]
        try:
            with database.write() as session:
                shards.record(session, claim, [ChunkCounts(0, "split", 0, counts)], [result], seconds=60)
        except CountsMismatch:
            assert missing
        else:
            assert not missing
    page = client.get(f"/v1/certifications/{job['id']}/results").json()
    assert (page["norm"], page["items"][0]["radius"], page["items"][0]["steps"]) == ("l1", 0.352941, 90)
    assert client.get(f"/v1/certifications/{job['id']}").json()["progress"]["done"] == 221
    assert client.get(f"/v1/certifications/{job['id']}/curve").json()["norm"] == "l1"


def test_other_inputs_and_sigmas_are_refused(client: Client, database: Database) -> None:
    model_id = ready_model(client, database)
    off = ready_dataset(client, database, NPZ + b"off", grid=None)
    unit = ready_dataset(client, database, NPZ + b"unit", grid=[0.0, 1.0])
    wide = ready_dataset(client, database, NPZ + b"wide", grid=[0.0, 255.0])
    for dataset_id, asked, pointer, words in (
        (off, ASKED, "/method/kind", "8-bit inputs"),
        (unit, ASKED | {"sigma": 0.001}, "/method/sigma", "2 to 1048576 offsets"),
        (unit, ASKED | {"sigma": 1000.0}, "", ""),
        (wide, ASKED, "/method/sigma", "not 0.866"),
        (unit, ASKED | {"norm": "l2"}, "/method/norm", "l1"),
        (unit, ASKED | {"alpha": 0.001}, "/method/alpha", ""),
    ):
        answer = post_certification(client, model_id, dataset_id, method=asked)
        if not pointer:
            assert answer.json()["progress"]["total"] == 100 * round(2 * 3**0.5 * 1000 * 255)
            continue
        document = problem(answer, 422, "invalid-request")
        assert document["errors"][0]["pointer"] == pointer and words in document["detail"]
