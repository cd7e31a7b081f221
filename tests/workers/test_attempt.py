"""What a row knows of an attempt at it, whatever was raised amid that."""

import errno
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text

from models.bell import Bell
from models.database import Database
from models.repositories import certifications, leases
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import Claim, LostClaim
from models.settings import Settings
from models.storage import StorageFull
from models.tables import Certification, Model, Shard
from tests import factories
from workers.attempt import attempt
from workers.causes import End, lost
from workers.worker import LetGo, Worker


@pytest.fixture
def worker(settings: Settings, bells: list[Bell]) -> Iterator[Worker]:
    worker = Worker(settings.model_copy(update={"max_attempts": 2}), bells.append)
    yield worker
    worker.database.close()


@pytest.fixture
def shard(database: Database) -> str:
    """The only one of a certification."""
    with database.write() as session:
        job = factories.certification(session, inputs=2, shard_inputs=2)
        session.flush()
        return str(session.scalar(select(Shard.id).where(Shard.certification_id == job.id)))


def claimed(worker: Worker, noun: str, row_id: str) -> Claim:
    claim = worker.claim(noun, row_id)
    assert claim is not None
    return claim


def raising(error: BaseException) -> Any:
    def work(_: Worker, __: Claim) -> None:
        raise error

    return work


def refused_by_the_database(worker: Worker) -> Any:
    return lambda _, __: worker.write(lambda session: session.execute(text("SELECT * FROM nowhere")))


ERRORS = [
    (ValueError("cannot reshape array of size 3"), "internal-error", "ValueError: cannot reshape array of size 3"),
    (OSError(errno.ENOSPC, "No space left on device"), "storage-full", "No space left on device"),
    (StorageFull("no space is left"), "storage-full", "no space is left"),
    (MemoryError("Unable to allocate 8 GiB"), "out-of-memory", "Unable to allocate 8 GiB"),
    (CountsMismatch("3 counts are not 4"), "counts-mismatch", "3 counts are not 4"),
]


@pytest.mark.parametrize(("error", "slug", "said"), ERRORS)
def test_an_error_is_the_jobs_problem_at_once(
    worker: Worker, database: Database, shard: str, error: Exception, slug: str, said: str
) -> None:
    claim = claimed(worker, "shard", shard)
    attempt(worker, claim, raising(error))
    with database.read() as session:
        row = session.get_one(Certification, claim.job)
        assert (row.state, row.problem and row.problem["type"]) == ("failed", f"/problems/{slug}")
        assert row.problem is not None and said in row.problem["detail"]
        where = {"shard": shard, "worker": worker.name, "attempts": 1, "log": f"{row.id}/{shard}/1"}
        assert row.problem.items() >= where.items()
    assert worker.claim("shard", shard) is None


def test_what_the_database_refuses_is_no_reason_to_wait(worker: Worker, database: Database, shard: str) -> None:
    claim = claimed(worker, "shard", shard)
    attempt(worker, claim, refused_by_the_database(worker))
    with database.read() as session:
        problem = session.get_one(Certification, claim.job).problem
    assert problem is not None and problem["type"] == "/problems/internal-error"
    assert "The database refused: " in problem["detail"] and "nowhere" in problem["detail"]


def test_an_error_amid_intake_rejects(worker: Worker, database: Database) -> None:
    with database.write() as session:
        model = factories.validating_model(session).id
    attempt(worker, claimed(worker, "model", model), raising(ValueError("three")))
    with database.read() as session:
        problem = session.get_one(Model, model).problem
    assert problem is not None and problem["type"] == "/problems/internal-error"
    assert problem.items() >= {"worker": worker.name, "attempts": 1, "log": f"{model}/1"}.items()


def test_a_process_that_is_gone_costs_an_attempt_until_it_was_the_last(
    worker: Worker, database: Database, shard: str, bells: list[Bell]
) -> None:
    gone = lost(End(-9, 3 * 2**30), "sampling")
    for number in (1, 2):
        bells.clear()
        claim = claimed(worker, "shard", shard)
        attempt(worker, claim, raising(gone))
        with database.read() as session:
            row = session.get_one(Shard, shard)
            if number == 1:
                assert (row.state, row.attempts, row.lease_expires_at) == ("queued", 1, None)
                assert row.cause is not None and row.cause["log"] == f"{claim.job}/{shard}/1"
                assert "was killed by SIGKILL while sampling (memory at most 3.00 GiB; " in row.cause["detail"]
                assert bells == [Bell("shard", shard)]
            problem = session.get_one(Certification, claim.job).problem
            assert (problem is None) == (number == 1)
    assert problem is not None and problem["type"] == "/problems/worker-lost"
    assert problem["detail"].endswith("So ended the last of 2 attempts in a row without progress.")
    assert problem["log"] == f"{claim.job}/{shard}/2"


def test_workers_that_went_silent_are_named(worker: Worker, database: Database, shard: str) -> None:
    for _ in range(2):
        claim = claimed(worker, "shard", shard)
        with database.write() as session:
            leases.renew(session, claim, seconds=-1)
    assert worker.claim("shard", shard) is None
    with database.read() as session:
        problem = session.get_one(Certification, claim.job).problem
    assert problem is not None and problem["type"] == "/problems/worker-lost"
    assert f"The worker {worker.name} went silent" in problem["detail"]
    assert (problem["attempts"], problem["shard"], problem["log"]) == (2, shard, f"{claim.job}/{shard}/2")


def test_who_gives_up_on_a_shard_stands_in_no_cancellations_way(worker: Worker, database: Database, shard: str) -> None:
    """Its claim is committed before it asks for the certification, which a cancellation has when it asks for shards."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("a write locks all of an SQLite database")
    for _ in range(2):
        claim = claimed(worker, "shard", shard)
        with database.write() as session:
            leases.renew(session, claim, seconds=-1)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            job = certifications.get(session, claim.job, lock=True)
            assert job is not None
            gives_up = pool.submit(worker.claim, "shard", shard)
            while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                assert not gives_up.done()
            assert session.scalar(select(Shard.fence).where(Shard.id == shard).with_for_update(nowait=True)) == 3
            certifications.cancel(session, job)
        assert gives_up.result() is None
    with database.read() as session:
        assert session.get_one(Certification, claim.job).state == "cancelled"


@pytest.mark.parametrize("error", [LetGo(), SystemExit()])
def test_a_shutdown_costs_nothing(worker: Worker, database: Database, shard: str, error: BaseException) -> None:
    claim = claimed(worker, "shard", shard)
    try:
        attempt(worker, claim, raising(error))
    except SystemExit:
        assert isinstance(error, SystemExit)
    with database.read() as session:
        row = session.get_one(Shard, shard)
        assert (row.state, row.attempts, row.lease_expires_at, row.cause) == ("queued", 0, None, None)


def test_who_lost_the_claim_writes_nothing(worker: Worker, database: Database, shard: str) -> None:
    claim = claimed(worker, "shard", shard)
    with database.write() as session:
        leases.renew(session, claim, seconds=-1)
    successor = claimed(worker, "shard", shard)
    for error in (LostClaim(), ValueError("late")):
        attempt(worker, claim, raising(error))
    with database.read() as session:
        row = session.get_one(Shard, shard)
        assert (row.state, row.fence) == ("queued", successor.fence)
        assert session.get_one(Certification, claim.job).problem is None
