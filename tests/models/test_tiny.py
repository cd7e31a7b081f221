"""Tiny jobs, begun and ended together: the same rows as of one at a time, or none."""

import itertools
from typing import Any

import pytest

from models.base import Json, now
from models.database import Database
from models.repositories import certifications, leases, shards, tiny
from models.repositories.answers import Question
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from models.repositories.leases import LostClaim
from models.repositories.ledger import Streams
from models.repositories.recall import Asked
from models.repositories.shards import WorkOrder
from models.repositories.tiny import Done, Tiny
from models.states import JobState
from models.tables import Answer, Certification, Chunk, Dataset, Ledger, Model, Result, Shard
from tests import factories

N0, N = 10, 100
RANKS = itertools.count(1)
METHOD: Json = {"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": N0, "n": N, "cross_check": 0}


@pytest.fixture
def pair(database: Database) -> tuple[str, str]:
    with database.write() as session:
        return factories.ready_model(session).id, factories.ready_dataset(session).id


def job(database: Database, pair: tuple[str, str], indices: range, **change: Any) -> str:
    given: dict[str, Any] = {
        "method": METHOD,
        "plan": factories.smoothing(N0, N),
        "cost": N0 + N,
        "shard_inputs": 4,
    } | change
    with database.write() as session:
        model, dataset = session.get_one(Model, pair[0]), session.get_one(Dataset, pair[1])
        return certifications.add(session, certifications.new(model, dataset, indices=indices, **given)).id


def asked(order: WorkOrder) -> Asked:
    inputs = {index: f"{index:064x}" for index in order.indices}
    question = Question(order.tenant, order.model.digest, str(order.method["sigma"]), inputs)
    return Asked(question, Streams(order.tenant, order.model.digest, "gaussian", inputs), {})


def begun(database: Database, before: str | None = None, *, many: int = 8, units: int = 1000) -> list[Tiny]:
    """Begun by the turn that it is, or by that of the job ``before`` all others."""
    with database.write() as session:
        if before is not None:
            session.get_one(Certification, before).rank = -next(RANKS)
            session.flush()
        return tiny.begin(session, asked, lambda _: many, units=units, worker="w", seconds=60)


def computed(one: Tiny, votes: int = N) -> Done:
    chunks, found = [], []
    for index in one.order.indices:
        counts = [[N0, 0, 0], [votes, 0, 0]]
        chunks += [ChunkCounts(index, stage, 0, of) for stage, of in zip(("pilot", "estimate"), counts, strict=True)]
        detail = {"pilot_class": 0, "pilot_counts": counts[0], "counts": [N, 0, 0], "n": N, "unspent": 0}
        found.append(InputResult(index, 0, 0, 0.5, False, {**detail, "clean_prediction": 0, "decision": None}))
    return Done(one, {"executor": "torch", "batch_size": 64}, chunks, found)


def end(database: Database, *done: Done) -> None:
    with database.write() as session:
        tiny.end(session, done)


def test_many_begin_and_end_together(database: Database, pair: tuple[str, str]) -> None:
    ids = [job(database, pair, range(start, start + 1 + start % 2)) for start in range(0, 12, 3)]
    jobs = begun(database)
    assert [one.claim.job for one in jobs] == ids
    with database.read() as session:
        for one in jobs:
            shard = session.get_one(Shard, one.claim.id)
            assert (shard.state, shard.fence, shard.worker, shard.attempts) == (JobState.RUNNING, 1, "w", 1)
            assert session.get_one(Certification, one.claim.job).state is JobState.RUNNING
            assert not list(leases.unattended(session))
    assert begun(database) == []  # once
    end(database, *map(computed, jobs))
    with database.read() as session:
        for one in jobs:
            row = session.get_one(Certification, one.claim.job)
            inputs = len(row.indices)
            assert (row.state, row.done, row.total) == (JobState.SUCCEEDED, inputs * (N0 + N), inputs * (N0 + N))
            assert row.summary == certifications.conclusion(session, row) | {"complete": True}
            assert row.summary is not None
            assert (row.summary["accuracy"], row.summary["median_radius"]) == (1.0, 0.5)
            assert row.execution == {"executor": "torch", "batch_size": 64}
            assert session.get_one(Shard, one.claim.id).state is JobState.SUCCEEDED
        inputs = sum(len(one.order.indices) for one in jobs)
        counts = {table: session.query(table).count() for table in (Result, Answer, Ledger, Chunk)}
        assert counts == {Result: inputs, Answer: inputs, Ledger: 2 * inputs, Chunk: 0}


def test_what_is_not_tiny_or_not_alike_is_left(database: Database, pair: tuple[str, str]) -> None:
    with database.write() as session:
        other = factories.ready_model(session, content=b"other").id
    first = job(database, pair, range(1))
    several, costly = job(database, pair, range(1, 9)), job(database, pair, range(9, 12))
    elsewhere = job(database, (other, pair[1]), range(1))
    otherwise = job(database, pair, range(3, 4), method=METHOD | {"sigma": 0.5})
    again = job(database, pair, range(1))  # the same question: the first answers it
    assert [one.claim.job for one in begun(database, first, units=N0 + N)] == [first]
    for left in (several, costly):
        assert begun(database, left, units=N0 + N) == []
    assert [one.claim.job for one in begun(database, elsewhere)] == [elsewhere]
    assert [one.claim.job for one in begun(database, otherwise)] == [otherwise]
    assert begun(database, otherwise, many=0) == []
    end(database, *(computed(one) for one in begun(database, again)))
    assert begun(database, job(database, pair, range(1))) == []  # what is known is recalled


def test_one_that_was_cancelled_or_taken_keeps_all_from_being_written(
    database: Database, pair: tuple[str, str]
) -> None:
    ids = [job(database, pair, range(start, start + 1)) for start in range(2)]
    first, second = begun(database)
    with database.write() as session:
        row = certifications.get(session, ids[1], lock=True)
        assert row is not None
        certifications.cancel(session, row)
    with pytest.raises(LostClaim):
        end(database, computed(first), computed(second))
    with database.write() as session:
        assert session.query(Result).count() == 0
        assert leases.claim(session, "shard", first.claim.id, worker="other", seconds=60) is None  # it is still held
    end(database, computed(first))
    with database.read() as session:
        assert session.get_one(Certification, ids[0]).state is JobState.SUCCEEDED


def test_sums_that_are_not_those_of_the_chunks_are_no_certificate(database: Database, pair: tuple[str, str]) -> None:
    [one] = begun(database, job(database, pair, range(1)))
    with pytest.raises(CountsMismatch):
        end(database, computed(one, votes=N - 1))
    whole = computed(one)
    with pytest.raises(CountsMismatch):
        end(database, Done(one, whole.execution, whole.chunks, []))
    with database.read() as session:
        assert session.query(Result).count() == 0


def test_a_worker_that_went_silent_loses_them(database: Database, pair: tuple[str, str]) -> None:
    job(database, pair, range(1))
    with database.write() as session:
        [one] = tiny.begin(session, asked, lambda _: 1, units=1000, worker="w", seconds=-1)
        assert leases.abandoned(session, "shard") == one.claim.id
    with database.write() as session:
        taken = leases.claim(session, "shard", one.claim.id, worker="other", seconds=60)
        assert taken is not None and taken.fence == 2
    with pytest.raises(LostClaim):
        end(database, computed(one))


@pytest.mark.parametrize("served", [False, True])
def test_one_of_which_somebody_has_cut_a_shard_is_left(database: Database, pair: tuple[str, str], served: bool) -> None:
    """Nobody has begun that shard, and of the inputs that are left fewer than a shard holds: it would be of both."""
    first, cut = job(database, pair, range(1)), job(database, pair, range(1, 6))
    with database.write() as session:
        factories.cut(session, cut, shards=1)
        row = session.get_one(Certification, cut)
        row.served_at = now() if served else None  # a worker that did not say so
        assert (row.state, row.fence, row.unsharded) == (JobState.QUEUED, 0, 1)
    assert [one.claim.job for one in begun(database, first)] == [first]
    with database.write() as session:  # its shard is nobody's, and is not to be next
        [shard] = session.query(Shard).filter(Shard.certification_id == cut)
        assert leases.claim(session, "shard", shard.id, worker="other", seconds=60) is not None
    assert begun(database, cut) == []


def test_a_shard_that_fails_after_its_certification_has_ended_ends_alone(
    database: Database, pair: tuple[str, str]
) -> None:
    """Else it would be open for ever, and each worker that takes it would fail at ending it."""
    job(database, pair, range(1))
    [one] = begun(database)
    with database.write() as session:
        row = session.get_one(Certification, one.claim.job)
        row.state, row.summary = JobState.SUCCEEDED, {"complete": True}
    with database.write() as session:
        shards.fail(session, one.claim, {"type": "/problems/internal-error"})
    with database.read() as session:
        row = session.get_one(Certification, one.claim.job)
        assert (row.state, row.problem, row.summary) == (JobState.SUCCEEDED, None, {"complete": True})
        assert session.get_one(Shard, one.claim.id).state is JobState.FAILED
        assert not list(leases.unattended(session))
