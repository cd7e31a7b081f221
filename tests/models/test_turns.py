"""Whose turn it is: by rank, then fairly among keys, then by age; and how much of it a worker gets."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from models import precedence
from models.base import now
from models.bell import Bell
from models.database import Database
from models.precedence import rank
from models.repositories import certifications, leases, paces, shards, splits, turns
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from models.repositories.leases import Claim
from models.states import JobState
from models.tables import Certification, Chunk, Pace, Result, Shard
from models.tables.chunk import REUSED
from radii.smoothing import CHUNK
from tests import factories

BATCH, FIRST = rank(5, interactive=False), rank(5, interactive=True)
N = 10 * CHUNK


def add(database: Database, *, of: int = BATCH, key: str = "a", inputs: int = 1, n: int = N, each: int = 1) -> str:
    with database.write() as session:
        return certifications.add(
            session,
            certifications.new(
                factories.ready_model(session),
                factories.ready_dataset(session),
                method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 10, "n": n},
                plan=factories.smoothing(10, n),
                indices=range(inputs),
                cost=10 + n,
                shard_inputs=each,
                rank=of,
                key_id=key,
                apart="estimate",
            ),
        ).id


def take(database: Database, *, device: str | None = None, seconds: float = 60) -> Claim | None:
    with database.write() as session:
        return turns.take(session, worker="w", device=device, seconds=seconds, shard_seconds=30)


def taken(database: Database, times: int) -> list[str | None]:
    claims = [take(database) for _ in range(times)]
    return [None if claim is None else claim.job for claim in claims]


def give_back(database: Database, claim: Claim | None) -> None:
    assert claim is not None
    with database.write() as session:
        leases.release(session, claim, blameless=True)


def test_ranks_are_in_order() -> None:
    places = [rank(p, interactive=i) for i in (True, False) for p in range(9, -1, -1)]
    assert places == sorted(set(places))
    assert {(precedence.priority(p), precedence.interactive(p)) for p in places} == {
        (p, i) for p in range(10) for i in (True, False)
    }
    with pytest.raises(ValueError, match="from 0 to 9"):
        rank(10, interactive=False)


def test_interactive_goes_first_then_priority_then_age(database: Database) -> None:
    old, young = add(database), add(database)
    urgent = add(database, of=rank(9, interactive=False))
    waited_for = add(database, of=rank(0, interactive=True))
    assert taken(database, 5) == [waited_for, urgent, old, young, None]


def test_keys_take_turns_whoever_asked_first(database: Database) -> None:
    flood = [add(database, key="a") for _ in range(4)]
    other = [add(database, key="b") for _ in range(2)]
    assert taken(database, 7) == [flood[0], other[0], flood[1], other[1], flood[2], flood[3], None]


def test_one_worker_serves_keys_in_turn(database: Database) -> None:
    """Nothing is under way when it asks: who was served longest ago is next."""
    long, other = add(database, key="a", inputs=3), add(database, key="b", inputs=2)
    served = []
    for _ in range(5):
        claim = take(database)
        assert claim is not None
        served.append(claim.job)
        with database.write() as session:
            session.execute(update(Shard).where(Shard.id == claim.id).values(state=JobState.SUCCEEDED))
    assert served == [long, other, long, other, long]


def test_what_was_given_back_or_lost_is_taken_again_in_its_turn(database: Database) -> None:
    batch = add(database, inputs=3)
    back, lost = take(database), take(database, seconds=-1)
    give_back(database, back)
    assert back is not None and lost is not None
    first = add(database, of=FIRST)
    claims = [take(database) for _ in range(5)]
    assert [claim and claim.job for claim in claims] == [first, batch, batch, batch, None]
    assert {claim.id for claim in claims[1:3] if claim} == {back.id, lost.id}


def test_workers_that_ask_at_once_get_each_input_once(database: Database) -> None:
    jobs = [add(database, key=key, inputs=7) for key in ("a", "b", "c")]
    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(lambda _: take(database), range(21)) if claim is not None]
    assert len({claim.id for claim in claims}) == len(claims) == 21
    with database.read() as session:
        for job in jobs:
            rows = session.scalars(select(Shard).where(Shard.certification_id == job).order_by(Shard.start)).all()
            assert [index for shard in rows for index in shard.indices] == list(range(7))
    assert take(database) is None


def test_as_many_bells_as_certifications_that_wait(database: Database, bells: list[Bell]) -> None:
    job = add(database, inputs=3)
    assert [bell.id for bell in bells if bell.noun == "certification"] == [job]
    for rung in (1, 1, 0):  # somebody else is called while something is left
        bells.clear()
        take(database)
        assert [bell.id for bell in bells] == [job] * rung


def learn(database: Database, job: str, device: str, per_second: float) -> None:
    with database.write() as session:
        paces.learn(session, session.get_one(Certification, job), device, per_second)


def test_a_faster_device_gets_more_inputs(database: Database) -> None:
    """Of 10,010 samples an input: 30 s of work, and by the end less, for others to have a share."""
    job = add(database, inputs=100_000, each=3)
    learn(database, job, "cpu", 3337.0)
    learn(database, job, "H200", 1e6)
    sizes = {}
    for device in ("cpu", "H200", "another"):
        claim = take(database, device=device)
        assert claim is not None
        with database.read() as session:
            sizes[device] = len(session.get_one(Shard, claim.id).indices)
    assert sizes == {"cpu": 10, "H200": 2997, "another": 3}


def test_the_last_shards_are_short(database: Database) -> None:
    job = add(database, inputs=20)
    learn(database, job, "cpu", 10_010.0)  # an input a second
    sizes = []
    while claim := take(database, device="cpu"):
        with database.read() as session:
            sizes.append(len(session.get_one(Shard, claim.id).indices))
    assert sizes == [10, 5, 5]


def test_paces_are_of_a_model_a_method_and_a_device(database: Database) -> None:
    job = add(database)
    learn(database, job, "cpu", 100.0)
    learn(database, job, "cpu", 110.0)  # about as before
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert paces.known(session, row, "cpu") == 100.0
        assert paces.known(session, row, "cuda") is None and paces.known(session, row, None) is None
    learn(database, job, "cpu", 200.0)
    with database.read() as session:
        assert session.scalars(select(Pace.per_second)).all() == [150.0]


def begin(database: Database, claim: Claim | None) -> shards.WorkOrder:
    assert claim is not None
    with database.write() as session:
        order = shards.begin(session, claim, device="cpu")
    with database.write() as session:
        return shards.fit(session, claim, order, seconds=1)


def chunk(number: int, stage: str = "estimate", size: int = CHUNK) -> ChunkCounts:
    return ChunkCounts(0, stage, number, [size - 10, 9, 1])


def record(database: Database, claim: Claim | None, *said: ChunkCounts | InputResult) -> None:
    assert claim is not None
    chunks = [one for one in said if isinstance(one, ChunkCounts)]
    with database.write() as session:
        shards.record(session, claim, chunks, [one for one in said if isinstance(one, InputResult)], seconds=60)


def finish(database: Database, claim: Claim | None) -> None:
    assert claim is not None
    with database.write() as session:
        shards.finish(session, claim)


def test_one_input_is_shared_by_its_samples_and_put_together(database: Database, bells: list[Bell]) -> None:
    """At 4,000 samples a second, one second each: 10 chunks are parts of 4, 4 and 2."""
    job = add(database)
    learn(database, job, "cpu", 4000.0)
    first = take(database)
    order = begin(database, first)
    assert order.part == {"stage": "estimate", "first": 0, "stop": 4, "samples": N}
    others = [take(database), take(database)]
    orders = [begin(database, claim) for claim in others]
    assert [(o.part["first"], o.part["stop"]) for o in orders if o.part] == [(4, 8), (8, 10)]
    assert take(database) is None
    record(database, first, *(chunk(number) for number in range(3)))
    with pytest.raises(CountsMismatch, match="without all chunks"):
        finish(database, first)
    record(database, first, chunk(3))
    finish(database, first)
    for claim, of_it in zip(others, orders, strict=True):
        assert of_it.part is not None
        record(database, claim, *(chunk(number) for number in range(of_it.part["first"], of_it.part["stop"])))
        finish(database, claim)
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert (row.state, row.due_at, row.done) == ("running", None, N)
    last = take(database)
    whole = begin(database, last)
    assert whole.part is None and len(whole.chunks) == 10
    detail = {"pilot_counts": [10, 0, 0], "counts": [9900, 90, 10], "n": N}
    pilot = ChunkCounts(0, "pilot", 0, [10, 0, 0])
    record(database, last, pilot, InputResult(0, 0, 0, 0.1, False, detail))
    finish(database, last)
    with database.write() as session:
        assert turns.due(session) == job
        factories.end(session, job)
    with database.read() as session:
        row = session.get_one(Certification, job)
        assert (row.state, row.done, row.total) == ("succeeded", N + 10, N + 10)
        assert row.summary is not None and row.summary["inputs"] == 1
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0


def test_what_the_ledger_knew_is_of_no_part(database: Database) -> None:
    job = add(database)
    learn(database, job, "cpu", 2000.0)
    claim = take(database)
    assert claim is not None
    with database.write() as session:
        shards.begin(session, claim)
        session.add(Chunk(certification_id=job, index=0, stage="estimate", number=REUSED, counts=[4 * CHUNK, 0, 0]))
    order = begin(database, claim)
    assert order.part is not None and (order.part["first"], order.part["stop"]) == (4, 6)
    assert [c.number for c in order.chunks] == [REUSED]


def test_a_shard_that_took_too_long_ends_before_its_first_open_input(database: Database) -> None:
    job = add(database, inputs=4, each=4)
    claim = take(database)
    assert claim is not None
    with database.write() as session:
        shards.begin(session, claim)
        session.add(Result(certification_id=job, index=0, abstained=True, detail={}))
        session.flush()
        assert shards.leave(session, claim)
    with database.read() as session:
        rows = session.scalars(select(Shard).where(Shard.certification_id == job).order_by(Shard.start)).all()
        assert [(list(row.indices), row.state) for row in rows] == [([0], "succeeded"), ([1, 2, 3], "queued")]
    again = take(database)
    assert again is not None and again.id == rows[1].id
    with database.write() as session:
        shards.begin(session, again)
        assert not shards.leave(session, again)  # nothing came of it: it is given back
    assert (taken(database, 2)) == [job, None]


def test_who_ends_it_is_found_though_nobody_marked_it(database: Database) -> None:
    """As a worker of an earlier version leaves it."""
    job = add(database)
    claim = take(database)
    with database.write() as session:
        session.execute(update(Shard).values(state=JobState.SUCCEEDED, lease_expires_at=None))
        session.execute(update(Certification).values(state=JobState.RUNNING))
        assert claim is not None and turns.due(session) is None
        certifications.notice_due(session)
        assert turns.due(session) == job
        session.execute(update(Certification).values(lease_expires_at=now() + timedelta(seconds=9)))
        assert turns.due(session) is None


def test_a_chunk_is_what_it_is_elsewhere() -> None:
    assert splits.CHUNK == CHUNK
