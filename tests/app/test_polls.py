"""A poll costs one read, or a part of one; and it shows what is there."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from fastapi import FastAPI
from httpx import Client
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from models.database import Database
from models.repositories import certifications, leases, shards, turns
from models.repositories.chunks import ChunkCounts
from models.repositories.marks import Shown
from models.tables import Dataset, Model
from tests import factories
from tests.app import rows
from tests.app.calls import certification, post_dataset, post_model
from tests.service import until


@pytest.fixture
def statements(database: Database) -> list[str]:
    """All that is asked of the database from now on."""
    heard: list[str] = []

    def execute(*given: str) -> None:
        heard.extend([given[2]] * (not given[2].startswith("BEGIN")))

    event.listen(database.engine, "before_cursor_execute", execute)
    return heard


@pytest.mark.parametrize("noun", ["models", "datasets", "certifications"])
def test_what_has_not_changed_costs_one_read(
    client: Client, database: Database, statements: list[str], monkeypatch: pytest.MonkeyPatch, noun: str
) -> None:
    for seconds in ("app.kept.FRESH_SECONDS", "app.database.KEY_SECONDS"):  # on a busy machine, too
        monkeypatch.setattr(seconds, 1000.0)
    begin: dict[str, Callable[[], str]] = {
        "models": lambda: post_model(client).headers["location"],
        "datasets": lambda: post_dataset(client).headers["location"],
        "certifications": lambda: f"/v1/certifications/{certification(client, database)}",
    }
    path = begin[noun]()
    first = client.get(path)
    statements.clear()
    again = client.get(path)
    assert len(statements) == 1 and f"{noun}.version" in statements[0]
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    known = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert len(statements) == 2
    assert known.headers["x-request-id"] != again.headers["x-request-id"]
    assert client.head(path).headers["etag"] == first.headers["etag"]
    assert client.get(path, headers={"Authorization": "Bearer radii_none"}).status_code == 401


def test_every_change_of_a_certification_is_seen_at_once(client: Client, database: Database) -> None:
    """Other processes make them: nobody tells the API."""
    job_id = certification(client, database, inputs=2)
    seen: list[dict[str, object]] = [client.get(f"/v1/certifications/{job_id}").json()]

    def change(what: Callable[[Session], object]) -> dict[str, object]:
        with database.write() as session:
            what(session)
        after: dict[str, object] = client.get(f"/v1/certifications/{job_id}").json()
        assert after != seen[-1]
        seen.append(after)
        return after

    change(lambda session: factories.cut(session, job_id))
    with database.write() as session:
        claim = turns.take(session, worker="w", device=None, seconds=60, shard_seconds=30)
        assert claim is not None
    change(lambda session: shards.begin(session, claim))
    change(lambda session: shards.record(session, claim, [], [], seconds=60, doing="sampling"))
    chunks = [ChunkCounts(0, "pilot", 0, [10, 0])]
    change(lambda session: shards.record(session, claim, chunks, [], seconds=60))
    change(lambda session: leases.release(session, claim, blameless=False, cause={"type": "/problems/stalled"}))

    def cancel(session: Session) -> None:
        row = certifications.get(session, job_id, lock=True)
        assert row is not None
        certifications.cancel(session, row)

    assert change(cancel)["state"] == "cancelled"


def test_changes_of_models_and_data_sets_count(client: Client, database: Database) -> None:
    tables: dict[str, type[Model] | type[Dataset]] = {"models": Model, "datasets": Dataset}
    for noun, made in (("models", post_model(client)), ("datasets", post_dataset(client))):
        path, row_id = made.headers["location"], made.json()["id"]
        assert client.get(path).json()["state"] == "validating"
        before = version(database, tables[noun], row_id)
        rows.accept(database, row_id)
        assert client.get(path).json()["state"] == "ready"
        assert version(database, tables[noun], row_id) != before


def test_a_change_counts_that_was_made_of_an_older_row(client: Client, database: Database) -> None:
    """Two processes change a row at the same time, each of which has read it before: whoever polls sees both."""
    row_id = post_model(client).json()["id"]
    before = version(database, Model, row_id)
    with database.write() as session:
        row = session.get_one(Model, row_id)
        columns = Model.metadata.tables["models"]
        session.connection().execute(update(columns).values(name="theirs", version=before + 1))
        row.cause = {"type": "/problems/stalled"}
    assert version(database, Model, row_id) not in (before, before + 1)


def version(database: Database, table: type[Model] | type[Dataset], row_id: str) -> int:
    with database.read() as session:
        return session.scalars(select(table.version).where(table.id == row_id)).one()


def test_all_who_wait_are_one_look(
    client: Client, app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = certification(client, database)
    watch, looks, looked = app.state.service.watch, list[int](), Event()
    real = watch._ended

    def ended(waited: Mapping[Shown, Sequence[str]]) -> list[str]:
        looks.append(sum(map(len, waited.values())))
        looked.set()
        found: list[str] = real(waited)
        return found

    monkeypatch.setattr(watch, "_ended", ended)
    path = f"/v1/certifications/{job_id}"
    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(client.get, path, headers={"Prefer": "wait=60"}) for _ in range(50)]
        until(lambda: len(watch._waiting.get(job_id, (None, []))[1]) == 50)
        looked.clear()
        assert looked.wait(30)
        client.post(f"{path}/cancel").raise_for_status()
        assert {one.result(30).json()["state"] for one in waiting} == {"cancelled"}
    assert set(looks) == {1}  # row, however many wait for it
    until(lambda: not watch._waiting)


def test_a_key_is_looked_up_once_for_all_who_poll_with_it(
    client: Client, app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/certifications/{certification(client, database)}"
    etag = client.get(path).headers["etag"]
    known, asked, let = app.state.service.database, list[str](), Event()
    monkeypatch.setattr("app.kept.FRESH_SECONDS", 1000.0)
    monkeypatch.setattr("app.database.KEY_SECONDS", 1000.0)
    client.get(path)
    real = known.authenticate

    def authenticate(text: str) -> object:
        asked.append(text)
        assert let.wait(30)
        return real(text)

    monkeypatch.setattr(known, "authenticate", authenticate)
    with ThreadPoolExecutor(20) as pool:
        known._keys = {digest: (principal, 0.0) for digest, (principal, _) in known._keys.items()}
        polls = [pool.submit(client.get, path, headers={"If-None-Match": etag}) for _ in range(20)]
        until(lambda: len(asked) == 1)
        let.set()
        assert {one.result(30).status_code for one in polls} == {304}
    assert len(asked) == 1
