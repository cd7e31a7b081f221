"""Workers are there while they say so; why something waits follows from that."""

from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, select, update

from models.base import now
from models.bootstrap import ROOT, bootstrap, migrate
from models.database import Database
from models.ids import CERTIFICATION, made_at, new_id
from models.repositories import certifications, leases, presence, shards
from models.repositories.figures import figures
from models.repositories.waiting_reason import COUNTED, NEXT, NO_WORKER, waiting_reason
from models.settings import Settings
from models.tables import Certification, Model, Presence, Shard
from tests import factories

WORKER: dict[str, Any] = {
    "host": "one",
    "version": "0.1.0",
    "queues": "certify intake",
    "started_at": now(),
    "device": None,
    "memory": None,
    "memory_total": None,
    "samples_per_second": None,
    "work": None,
    "figures": {},
}


def beat(database: Database, name: str = "one/1", *, seconds: float = 60, **values: Any) -> None:
    with database.write() as session:
        presence.beat(session, name, seconds=seconds, **WORKER | values)


def names(database: Database) -> list[str]:
    with database.read() as session:
        return [worker.name for worker in presence.alive(session)]


def test_a_worker_is_there_until_it_leaves_or_its_last_beat_has_lapsed(database: Database) -> None:
    assert names(database) == []
    beat(database, "two/2")
    beat(database)
    beat(database, device="cpu", memory=2**40)
    assert names(database) == ["one/1", "two/2"]
    with database.write() as session:
        presence.leave(session, "two/2")
    assert names(database) == ["one/1"]
    with database.read() as session:
        (worker,) = presence.alive(session)
        assert (worker.device, worker.memory) == ("cpu", 2**40)
        assert presence.alive(session, now() + timedelta(seconds=61)) == []
    beat(database, seconds=-1)
    assert names(database) == []


def test_who_went_silent_long_ago_is_forgotten_and_nobody_else(database: Database) -> None:
    for name, seconds in (("old/1", -3601), ("silent/1", -3500), ("here/1", 60)):
        beat(database, name, seconds=seconds)
    with database.write() as session:
        presence.forget(session)
        assert set(session.scalars(select(Presence.name))) == {"silent/1", "here/1"}


def job(database: Database, **asked: Any) -> str:
    with database.write() as session:
        return factories.certification(session, **asked).id


def why(database: Database, row_id: str, table: Any = Certification) -> str | None:
    with database.read() as session:
        return waiting_reason(session, session.get_one(table, row_id))


def test_a_job_waits_for_want_of_a_worker_of_its_queue(database: Database) -> None:
    one = job(database)
    assert why(database, one) == NO_WORKER
    for queues in ("intake", "certify-not other"):
        beat(database, queues=queues)
        assert why(database, one) == NO_WORKER
    beat(database, queues="a certify")
    assert why(database, one) == NEXT


def test_a_job_waits_for_those_before_it_of_every_tenant(database: Database) -> None:
    beat(database)
    first, second, third = job(database), job(database, tenant="other"), job(database)
    assert [why(database, one) for one in (first, second, third)] == [NEXT, "1 job ahead", "2 jobs ahead"]
    with database.write() as session:
        certifications.cancel(session, session.get_one(Certification, first))
    assert [why(database, one) for one in (first, second, third)] == [None, NEXT, "1 job ahead"]
    with database.write() as session:
        shard = session.scalars(select(Shard.id).where(Shard.certification_id == second)).first()
        assert shard is not None
        claim = leases.claim(session, "shard", shard, worker="one/1", seconds=60)
        assert claim is not None
        shards.begin(session, claim)
    assert [why(database, one) for one in (second, third)] == [None, "1 job ahead"]


def test_no_more_are_counted_than_anyone_wants_to_know(database: Database) -> None:
    beat(database)
    for _ in range(COUNTED):
        job(database)
    last = job(database)
    assert why(database, last) == f"{COUNTED} jobs ahead"
    assert why(database, job(database)) == f"more than {COUNTED} jobs ahead"


def test_intake_waits_in_one_line(database: Database) -> None:
    beat(database)
    with database.write() as session:
        model = factories.validating_model(session).id
        session.flush()
        other = factories.validating_model(session, content=b"other").id
    assert why(database, model, Model) == NEXT
    assert why(database, other, Model) == "1 job ahead"
    with database.write() as session:
        assert leases.claim(session, "model", model, worker="one/1", seconds=60)
    assert why(database, model, Model) is None  # it is being read
    with database.write() as session:
        session.execute(update(Model).where(Model.id == model).values(lease_expires_at=now() - timedelta(seconds=1)))
    assert why(database, model, Model) == NEXT


def test_figures_are_of_what_there_is_to_do_and_of_what_failed(database: Database) -> None:
    beat(database)
    one, two = job(database, inputs=6, shard_inputs=2), job(database, tenant="other")
    with database.write() as session:
        factories.validating_model(session, content=b"waits")
        ids = session.scalars(select(Shard.id).where(Shard.certification_id == one)).all()
        claim = leases.claim(session, "shard", ids[0], worker="one/1", seconds=60)
        assert claim is not None
        shards.begin(session, claim)
        lost = session.scalars(select(Shard.id).where(Shard.certification_id == two)).first()
        assert lost is not None
        claim = leases.claim(session, "shard", lost, worker="one/1", seconds=60)
        assert claim is not None
        shards.fail(session, claim, {"type": "/problems/stalled", "detail": "so"})
    with database.read() as session:
        found = figures(session)
    seen = {(one.kind, one.state): (one.rows, one.held) for one in found.open}
    assert seen == {
        ("certification", "running"): (1, 0),
        ("model", "validating"): (1, 0),
        ("shard", "queued"): (2, 0),
        ("shard", "running"): (1, 1),
    }
    assert all(0 <= one.oldest < 60 for one in found.open)
    assert found.failed == {("certification", "stalled"): 1}
    assert [worker.name for worker in found.workers] == ["one/1"]


def test_an_id_says_when_it_was_made() -> None:
    before = now()
    made = made_at(new_id(CERTIFICATION))
    assert before - timedelta(milliseconds=1) <= made <= now()


def test_the_migration_goes_up_and_down_on_data(tmp_path: Any, empty_database_url: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=empty_database_url)
    bootstrap(settings)
    database = Database(settings.database)
    one = job(database)
    beat(database, figures={"a": 1})
    config = Config(toml_file=ROOT / "pyproject.toml")
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, "0017")
    assert "workers" not in inspect(database.engine).get_table_names()
    with database.write() as session:
        migrate(session.connection())
    assert names(database) == []
    beat(database, figures={"a": 1})
    with database.read() as session:
        assert session.get_one(Presence, "one/1").figures == {"a": 1}
        assert session.get(Certification, one) is not None
    database.close()


@pytest.mark.parametrize("work", [None, {"noun": "shard", "id": "shd_1", "job": "cert_1", "since": "now"}])
def test_what_is_not_a_tenants_own_is_not_found(database: Database, work: Any) -> None:
    from models.principal import EVERYTHING, Principal

    mine, others = job(database), job(database, tenant="other")
    beat(database, "a/1", work=work and {**work, "job": mine})
    beat(database, "b/1", work=work and {**work, "job": others})
    with database.read() as session:
        there = presence.alive(session)
    with database.read_as(Principal("other", "key", EVERYTHING)) as session:
        assert presence.own_jobs(session, there) == ({others} if work else set())
