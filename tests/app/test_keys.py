import threading

from httpx import Client

from models.database import Database
from models.principal import DEFAULT_TENANT
from models.repositories import keys
from models.tables import Key
from tests.app.calls import problem
from tests.app.conftest import KEY


def made(client: Client, name: str = "pipeline") -> dict[str, object]:
    answer = client.post("/v1/keys", json={"name": name})
    assert answer.status_code == 201, answer.text
    document: dict[str, object] = answer.json()
    return document


def listed(client: Client) -> list[dict[str, object]]:
    answer = client.get("/v1/keys")
    assert KEY not in answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def test_a_key_from_its_making_to_its_end(client: Client, anonymous: Client, database: Database) -> None:
    key = made(client)
    text = key.pop("key")
    assert (key["name"], key["current"], key["revoked_at"]) == ("pipeline", False, None)
    assert [row["name"] for row in listed(client)] == ["pipeline", "test"]  # newest first
    with database.read() as session:
        assert text not in [row.sha256 for row in session.query(Key)]
    bearer = {"Authorization": f"Bearer {text}"}
    there = client.get("/v1/keys", headers=bearer)
    assert str(text) not in there.text  # it was shown once
    assert [row["current"] for row in there.json()["items"]] == [True, False]
    revoked = client.delete(f"/v1/keys/{key['id']}")
    assert revoked.status_code == 200 and revoked.json()["revoked_at"]
    problem(client.get("/v1/keys", headers=bearer), 401, "unauthenticated")
    assert client.delete(f"/v1/keys/{key['id']}").json() == revoked.json()  # again is no error
    assert listed(client)[0] == revoked.json()


def test_a_key_may_revoke_itself_where_it_is_not_the_last(client: Client) -> None:
    bearer = {"Authorization": f"Bearer {made(client)['key']}"}
    (own,) = [row["id"] for row in listed(client) if row["current"]]
    assert client.delete(f"/v1/keys/{own}").status_code == 200
    problem(client.get("/v1/keys"), 401, "unauthenticated")
    (last,) = [row["id"] for row in client.get("/v1/keys", headers=bearer).json()["items"] if row["current"]]
    document = problem(client.delete(f"/v1/keys/{last}", headers=bearer), 409, "last-key")
    assert "radii keys create" in document["remedy"] and "api-key" in document["remedy"]
    assert client.get("/v1/keys", headers=bearer).status_code == 200


def test_of_two_that_revoke_each_other_at_once_one_stays(client: Client, database: Database) -> None:
    for _ in range(5):
        text = made(client)["key"]
        mine, other = [row["id"] for row in listed(client) if not row["revoked_at"]]
        barrier = threading.Barrier(2)
        codes: list[object] = []

        def revoke(key_id: object, barrier: threading.Barrier = barrier, codes: list[object] = codes) -> None:
            barrier.wait(30)
            try:
                with database.write() as session:
                    keys.revoke(session, DEFAULT_TENANT, str(key_id))
                codes.append("revoked")
            except keys.LastKey:
                codes.append("last")

        threads = [threading.Thread(target=revoke, args=[key_id]) for key_id in (mine, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, codes)) == ["last", "revoked"]
        with database.read() as session:
            (living,) = keys.valid(session, DEFAULT_TENANT)
        if living.id == mine:  # `mine` is the newer one
            client.headers["Authorization"] = f"Bearer {text}"


def test_what_is_no_key(client: Client) -> None:
    for key_id in ("key_" + "0" * 32, "x", "mdl_" + "0" * 32):
        problem(client.delete(f"/v1/keys/{key_id}"), 404, "not-found")
    for body in ({}, {"name": ""}, {"name": "x" * 201}, {"name": "a\nb"}, {"name": "x", "key": "radii_mine"}):
        problem(client.post("/v1/keys", json=body), 422, "invalid-request")
