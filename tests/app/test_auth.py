import time

from fastapi import FastAPI
from httpx import Client

from app.database import KEY_SECONDS
from models.base import now
from models.database import Database
from models.tables import Key
from tests.app.calls import problem
from tests.app.conftest import KEY
from tests.service import until

# Nothing here asks more of the database than the other tests do on both.


def test_every_call_under_v1_wants_a_key(app: FastAPI, anonymous: Client) -> None:
    calls = [(method, path) for path, item in app.openapi()["paths"].items() for method in item]
    assert len([path for _, path in calls if path.startswith("/v1/")]) >= 14
    for method, path in calls:
        answer = anonymous.request(method, path.replace("{", "").replace("}", ""))
        if path.startswith("/v1/"):
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        else:
            assert answer.status_code != 401


def test_a_key_that_is_none(anonymous: Client) -> None:
    for header in ("Bearer radii_other", "Bearer", f"Basic {KEY}", KEY, "Bearer \xff"):
        answer = anonymous.get("/v1/models", headers={b"Authorization": header.encode("latin-1")})
        problem(answer, 401, "unauthenticated")


def test_a_revoked_key_ends_within_a_second(client: Client, database: Database) -> None:
    assert client.get("/v1/models").status_code == 200
    with database.write() as session:
        session.query(Key).update({"revoked_at": now()})
    began = time.monotonic()
    until(lambda: client.get("/v1/models").status_code != 200)
    assert time.monotonic() - began < KEY_SECONDS + 1
    answer = client.get("/v1/models")
    problem(answer, 401, "unauthenticated")
    assert "invalid_token" in answer.headers["www-authenticate"]
