"""The ledger: a stream is counted once, for whoever asks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, func, select

from models.database import Database
from models.principal import DEFAULT_TENANT
from models.repositories import leases, ledger, shards
from models.repositories.chunks import ChunkCounts, InputResult
from models.repositories.leases import Claim
from models.repositories.ledger import Beginning, Streams
from models.tables import Certification, Ledger, Result, Shard
from models.tables.chunk import REUSED
from radii.smoothing import CHUNK
from tests import factories

STREAMS = Streams(DEFAULT_TENANT, "model", ledger.name({"noise": "gaussian", "sigma": 0.25}), {0: "zero"})
PILOT = [10, 0, 0]


def asked(database: Database, n: int) -> Claim:
    """A claimed shard of a certification of one input with n samples."""
    with database.write() as session:
        job = factories.certification(session, inputs=1, cost=10 + n)
        shard = session.scalars(select(Shard.id).where(Shard.certification_id == job.id)).one()
        claim = leases.claim(session, "shard", shard, worker="w", seconds=60)
        assert claim is not None
        shards.begin(session, claim)
        return claim


def reused(database: Database, claim: Claim, streams: Streams = STREAMS) -> dict[str, list[int]]:
    with database.write() as session:
        found = shards.reuse(session, claim, streams)
        assert all(chunk.number == REUSED for chunk in found)
        return {chunk.stage: chunk.counts for chunk in found}


def counted(
    database: Database, claim: Claim, chunks: dict[int, list[int]], total: list[int], streams: Streams = STREAMS
) -> Result:
    """Those estimation chunks, a pilot unless it was reused, and the result."""
    with database.write() as session:
        new = [ChunkCounts(0, "estimate", number, counts) for number, counts in chunks.items()]
        held = shards.begin(session, claim).chunks
        if not any(chunk.stage == "pilot" for chunk in held):
            new.append(ChunkCounts(0, "pilot", 0, PILOT))
        detail = {"pilot_counts": PILOT, "counts": total, "n": sum(total), "decision": None}
        shards.record(session, claim, new, [InputResult(0, 0, 0, 0.1, False, detail)], seconds=60, streams=streams)
        shards.finish(session, claim)
        job = session.get_one(Shard, claim.id).certification
        factories.end(session, job.id)
        session.refresh(job)
        assert (job.state, job.done) == ("succeeded", job.total)
        return session.get_one(Result, (job.id, 0))


def test_chunks_are_those_of_the_library() -> None:
    assert ledger.CHUNK == CHUNK


def test_asked_again_costs_nothing_and_more_samples_go_on(database: Database) -> None:
    first = asked(database, 2500)
    assert reused(database, first) == {}
    chunks = {0: [900, 90, 10], 1: [800, 200, 0], 2: [400, 100, 0]}
    assert counted(database, first, chunks, [2100, 390, 10]).detail["reused"] == 0

    again = asked(database, 2500)
    assert reused(database, again) == {"pilot": PILOT, "estimate": [2100, 390, 10]}
    with database.read() as session:
        job = session.get_one(Shard, again.id).certification
        assert job.done == job.total  # before anything was computed
    assert reused(database, again) == {"pilot": PILOT, "estimate": [2100, 390, 10]}  # told again, counted once
    with database.read() as session:
        job = session.get_one(Shard, again.id).certification
        assert job.done == job.total
    assert counted(database, again, {}, [2100, 390, 10]).detail["reused"] == 2510

    more = asked(database, 4000)  # the partial chunk is counted again, whole
    assert reused(database, more) == {"pilot": PILOT, "estimate": [1700, 290, 10]}
    result = counted(database, more, {2: [850, 150, 0], 3: [1000, 0, 0]}, [3550, 440, 10])
    assert result.detail["reused"] == 2010
    assert reused(database, asked(database, 3999))["estimate"] == [1700, 290, 10]
    assert reused(database, asked(database, 10**6))["estimate"] == [3550, 440, 10]
    assert "other_noises" not in result.detail
    with database.read() as session:  # rows for what was asked, however many chunks that was
        assert session.scalar(select(func.count()).select_from(Ledger)) == 4


def test_the_first_answer_stands_and_nothing_is_counted_twice(database: Database) -> None:
    first, second, late = (asked(database, 2000) for _ in range(3))
    assert reused(database, first) == reused(database, second) == {}
    counted(database, first, {0: [1000, 0, 0], 1: [900, 100, 0]}, [1900, 100, 0])
    counted(database, second, {0: [999, 1, 0], 1: [900, 100, 0]}, [1899, 101, 0])  # another device, another vote

    with database.write() as session:
        shards.record(session, late, [ChunkCounts(0, "estimate", 0, [1000, 0, 0])], [], seconds=60)
    assert reused(database, late) == {"pilot": PILOT}  # it has begun the other stream itself
    counted(database, late, {1: [900, 100, 0]}, [1900, 100, 0])
    assert reused(database, asked(database, 2000))["estimate"] == [1900, 100, 0]


@pytest.mark.parametrize(
    "other", [replace(STREAMS, tenant="other"), replace(STREAMS, model="other"), replace(STREAMS, inputs={0: "one"})]
)
def test_other_models_and_inputs_have_other_streams(database: Database, other: Streams) -> None:
    counted(database, asked(database, 1000), {0: [1000, 0, 0]}, [1000, 0, 0])
    claim = asked(database, 1000)
    assert reused(database, claim, other) == {}
    result = counted(database, claim, {0: [1000, 0, 0]}, [1000, 0, 0], other)
    assert "other_noises" not in result.detail


def test_other_noises_of_the_same_input_are_recorded(database: Database) -> None:
    counted(database, asked(database, 1000), {0: [1000, 0, 0]}, [1000, 0, 0])
    noise = {"noise": "gaussian", "sigma": 0.5}
    wider = Streams(DEFAULT_TENANT, "model", ledger.name(noise), {0: "zero"})
    claim = asked(database, 1000)
    assert reused(database, claim, wider) == {}
    result = counted(database, claim, {0: [500, 500, 0]}, [500, 500, 0], wider)
    assert result.detail["other_noises"] == [{"noise": "gaussian", "sigma": 0.25}]
    with database.read() as session:
        job = session.get_one(Certification, result.certification_id)
        assert job.summary is not None and job.summary["other_noises"] == {
            "inputs": 1,
            "noises": result.detail["other_noises"],
        }


def test_noises_of_another_tenant_are_nobody_elses_to_know(database: Database) -> None:
    counted(database, asked(database, 1000), {0: [1000, 0, 0]}, [1000, 0, 0])
    wider = replace(STREAMS, tenant="other", noise=ledger.name({"noise": "gaussian", "sigma": 0.5}))
    result = counted(database, asked(database, 1000), {0: [500, 500, 0]}, [500, 500, 0], wider)
    assert "other_noises" not in result.detail
    with database.read() as session:
        summary = session.get_one(Certification, result.certification_id).summary
    assert summary is not None and "other_noises" not in summary


def of_question(text: str) -> dict[str, str]:
    return {"pilot": text, "estimate": text}


def test_scores_are_those_of_the_very_same_question(database: Database) -> None:
    noise = ledger.name({"noise": "gaussian", "sigma": 0.25, "scores": "soft"})
    streams = Streams(DEFAULT_TENANT, "model", noise, {0: "zero"}, of_question('{"n":1500}'))
    pilot, parts = (
        {"map": "softmax", "factor": 1.0, "top": 0, "sides": "one-sided"},
        [[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]],
    )
    scores = {"map": "softmax", "factor": 1.0, "mean": [2.5 / 3, 0.5 / 3, 0.0], "squares": [0.1, 0.1, 0.0]}
    chunks = [ChunkCounts(0, "pilot", 0, PILOT, pilot)]
    for number, (counts, mean) in enumerate(zip(([800, 200, 0], [500, 0, 0]), parts, strict=True)):
        chunks.append(ChunkCounts(0, "estimate", number, counts, {"mean": mean, "squares": [0.05, 0.05, 0.0]}))
    detail = {"pilot_counts": PILOT, "counts": [1300, 200, 0], "n": 1500, "decision": None, "scores": scores}
    results = [InputResult(0, 0, 0, 0.1, False, detail)]
    claim = asked(database, 1500)
    with database.write() as session:
        shards.record(session, claim, chunks, results, seconds=60, streams=streams)

    plain = Streams(DEFAULT_TENANT, "model", noise, {0: "zero"})
    for other in (plain, replace(streams, questions=of_question('{"n":2000}'))):
        assert reused(database, asked(database, 1500), other) == {}
    again = asked(database, 1500)
    with database.write() as session:
        found = {chunk.stage: (chunk.counts, chunk.scores) for chunk in shards.reuse(session, again, streams)}
    assert found == {"pilot": (PILOT, pilot), "estimate": ([1300, 200, 0], scores)}
    with database.write() as session:
        shards.record(session, again, [], results, seconds=60, streams=streams)
        shards.finish(session, again)
        job = session.get_one(Shard, again.id).certification
        factories.end(session, job.id)
        session.refresh(job)
        assert (job.state, job.done) == ("succeeded", job.total)


def test_a_decision_asked_again_costs_nothing(database: Database) -> None:
    """Its looks end where it was decided: no radius goes on from there, nor another decision."""
    decided = replace(STREAMS, questions={"estimate": '{"target_radius":0.25}'})
    first = asked(database, 5000)
    chunks = [ChunkCounts(0, "pilot", 0, PILOT)] + [ChunkCounts(0, "estimate", k, [50, 0, 0]) for k in range(40)]
    detail = {"pilot_counts": PILOT, "counts": [2000, 0, 0], "n": 2000, "unspent": 3000, "decision": "certified"}
    results = [InputResult(0, 0, 0, 0.25, False, detail)]
    with database.write() as session:
        shards.record(session, first, chunks, results, seconds=60, streams=decided)

    assert reused(database, asked(database, 5000)) == {"pilot": PILOT}
    for other in ({"target_radius": 0.5}, {"target_radius": 0.25, "n": 9}):
        streams = replace(STREAMS, questions={"estimate": ledger.name(other)})
        assert reused(database, asked(database, 5000), streams) == {"pilot": PILOT}
    again = asked(database, 5000)
    with database.write() as session:
        found = {chunk.stage: (chunk.counts, chunk.scores) for chunk in shards.reuse(session, again, decided)}
    assert found == {"pilot": (PILOT, None), "estimate": ([2000, 0, 0], {"decision": "certified", "prediction": 0})}
    with database.write() as session:
        shards.record(session, again, [], results, seconds=60, streams=decided)
        shards.finish(session, again)
        job = session.get_one(Shard, again.id).certification
        factories.end(session, job.id)
        session.refresh(job)
        assert (job.state, job.done) == ("succeeded", job.total)


@pytest.mark.parametrize("later", [500, 2000, 3050])
def test_the_first_decision_stands(database: Database, later: int) -> None:
    """Another device draws another stream, whose looks may decide otherwise, and after more samples or fewer."""
    decided = replace(STREAMS, questions={"estimate": '{"target_radius":0.25}'})
    both = [asked(database, 5000) for _ in range(2)]
    for claim, n, decision in zip(both, (1000, later), ("not certified", "certified"), strict=True):
        radius = 0.25 if decision == "certified" else None
        detail = {"pilot_counts": PILOT, "counts": [n, 0, 0], "n": n, "unspent": 5000 - n, "decision": decision}
        chunks = [ChunkCounts(0, "pilot", 0, PILOT), ChunkCounts(0, "estimate", 0, [n, 0, 0])]
        result = InputResult(0, 0, 0, radius, radius is None, detail)
        with database.write() as session:
            shards.record(session, claim, chunks, [result], seconds=60, streams=decided)
    with database.write() as session:
        found = {chunk.stage: chunk for chunk in shards.reuse(session, asked(database, 5000), decided)}
    assert found["estimate"].counts == [1000, 0, 0]
    assert found["estimate"].scores == {"decision": "not certified", "prediction": 0}


def test_two_certifications_that_end_in_opposite_orders_do_not_wait_for_each_other(database: Database) -> None:
    """After its first row each waits, for a second at most, until the other has one: in opposite orders a deadlock."""
    streams = Streams(DEFAULT_TENANT, "model", STREAMS.noise, {0: "zero", 1: "one"})
    entries = [ledger.row(streams, index, "estimate", Beginning([1000, 0, 0])) for index in (0, 1)]
    first = threading.local()
    both = threading.Barrier(2, timeout=1)

    @event.listens_for(database.engine, "after_cursor_execute")
    def wait(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO ledger") and not hasattr(first, "over"):
            first.over = True
            with suppress(threading.BrokenBarrierError):
                both.wait()

    def enter(rows: list[dict[str, Any]]) -> None:
        with database.write() as session:
            ledger.add(session, rows)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(enter, [entries, entries[::-1]]))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Ledger)) == 2
