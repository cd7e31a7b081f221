"""An input whose runner dies time and again costs its own result; how often that may happen is bounded."""

import math

import pytest
from sqlalchemy import func, select

from models.database import Database
from models.problems import Problem
from models.repositories import certifications, failing, leases, results, shards, turns
from models.repositories.chunks import ChunkCounts
from models.repositories.leases import Claim
from models.tables import Certification, Chunk, Result, Shard
from tests import factories

MOST = 3
CAUSE = Problem.WORKER_LOST.document("It was killed by SIGSEGV while sampling.")
N = 100


def add(database: Database, inputs: int, shard_inputs: int) -> str:
    with database.write() as session:
        return certifications.add(
            session,
            certifications.new(
                factories.ready_model(session),
                factories.ready_dataset(session, count=500),
                method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 10, "n": N},
                plan=factories.smoothing(10, N),
                indices=range(inputs),
                cost=10 + N,
                shard_inputs=shard_inputs,
            ),
        ).id


def take(database: Database, seconds: float = 60) -> Claim | None:
    with database.write() as session:
        return turns.take(session, worker="w", device=None, seconds=seconds, shard_seconds=30)


def compute(database: Database, claim: Claim, poison: set[int]) -> int:
    """Input by input, until one of ``poison``; how many deaths that is."""
    with database.write() as session:
        order = shards.begin(session, claim)
    for index in order.indices:
        if index in poison:
            with database.write() as session:
                failing.died(session, claim, CAUSE, given_up=CAUSE, labels={index: 7}, most=MOST)
            return 1
        with database.write() as session:
            session.add(
                Result(
                    certification_id=claim.job,
                    index=index,
                    label=7,
                    prediction=7,
                    radius=0.5,
                    abstained=False,
                    detail={},
                )
            )
            shard = session.get_one(Shard, claim.id)
            shard.done, shard.deaths = shard.done + 110, 0
    with database.write() as session:
        shards.finish(session, claim)
    return 0


def run(database: Database, job: str, poison: set[int]) -> int:
    deaths = 0
    while claim := take(database):
        deaths += compute(database, claim, poison)
    with database.write() as session:
        if turns.due(session) == job:
            factories.end(session, job)
    return deaths


@pytest.mark.parametrize(("inputs", "poison"), [(8, {3}), (8, {0}), (8, {7}), (7, {1, 5}), (2, {1})])
def test_poison_costs_its_own_result_and_a_bounded_number_of_deaths(
    database: Database, inputs: int, poison: set[int]
) -> None:
    job = add(database, inputs, shard_inputs=inputs)
    deaths = run(database, job, poison)
    assert deaths <= len(poison) * MOST * (1 + math.ceil(math.log2(inputs)))
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert (row.state, row.problem, row.done) == ("succeeded", None, row.total)
        assert row.summary is not None
        assert (row.summary["failed"], row.summary["failed_indices"]) == (len(poison), sorted(poison))
        assert (row.summary["inputs"], row.summary["abstained"]) == (inputs, 0)
        assert row.summary["accuracy"] == (inputs - len(poison)) / inputs
        found = session.scalars(select(Result).where(Result.certification_id == job)).all()
        assert {r.index for r in found} == set(range(inputs))
        assert all(r.detail == {"failed": True, "problem": CAUSE} and r.label == 7 for r in found if r.index in poison)


def test_a_job_of_which_all_fail_has_failed(database: Database) -> None:
    job = add(database, 3, shard_inputs=3)
    run(database, job, {0, 1, 2})
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert (row.state, row.problem) == ("failed", CAUSE)
        assert row.summary is not None and row.summary["accuracy"] is None


def test_what_fails_from_the_first_on_is_not_tried_to_the_last(database: Database) -> None:
    job = add(database, 500, shard_inputs=20)
    deaths = run(database, job, set(range(500)))
    with database.read() as session:
        assert session.get_one(Certification, job).state == "failed"
        assert results.failures(session, job) == (0, failing.ALL)
    assert deaths < 20 * MOST


def test_no_more_than_so_many_fail(database: Database) -> None:
    job = add(database, 250, shard_inputs=1)
    run(database, job, set(range(1, 250, 2)))
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert row.state == "failed" and row.problem == CAUSE
        assert results.failures(session, job)[1] == failing.MOST + 1


def test_workers_that_go_silent_are_no_inputs_fault(database: Database) -> None:
    job = add(database, 2, shard_inputs=2)
    for _ in range(5):
        claim = take(database, seconds=-1)
        assert claim is not None
    with database.read() as session:
        [shard] = session.scalars(select(Shard).where(Shard.certification_id == job))
        assert (shard.attempts, shard.deaths, len(shard.indices)) == (5, 0, 2)
        assert session.scalar(select(func.count()).select_from(Result)) == 0


def test_a_death_is_no_attempt_and_progress_forgets_it(database: Database) -> None:
    job = add(database, 1, shard_inputs=1)
    for deaths in (1, 2):
        claim = take(database)
        assert claim is not None
        compute(database, claim, {0})
        with database.read() as session:
            [shard] = session.scalars(select(Shard).where(Shard.certification_id == job))
            assert (shard.attempts, shard.deaths, shard.cause) == (0, deaths, CAUSE)
    claim = take(database)
    assert claim is not None
    chunk = ChunkCounts(0, "pilot", 0, [10, 0, 0])
    with database.write() as session:
        shards.begin(session, claim)
        shards.record(session, claim, [chunk], [], seconds=60)
    with database.read() as session:
        assert session.get_one(Shard, claim.id).deaths == 0
    with database.write() as session:
        leases.release(session, claim, blameless=True)
    run(database, job, {0})
    with database.read() as session:
        assert session.get_one(Certification, job).done == 110  # what was counted of it is not counted twice
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0
