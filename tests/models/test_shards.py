"""The job engine's exactness: whatever is sent twice, late, or by the wrong worker, the sums are right."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text, update

from models.bell import Bell
from models.database import Database
from models.repositories import certifications, intake, leases, results, shards, turns
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from models.repositories.leases import Claim, LostClaim
from models.states import IllegalMove, JobState
from models.tables import Certification, Chunk, Shard
from models.totals import Totals
from tests import factories

N0, N = 10, 100


@pytest.fixture
def job(database: Database) -> str:
    """A certification of 5 inputs in shards of 2."""
    with database.write() as session:
        return factories.certification(session, inputs=5, cost=N0 + N, shard_inputs=2).id


def shard_ids(database: Database, job: str) -> Sequence[str]:
    with database.read() as session:
        return session.scalars(select(Shard.id).where(Shard.certification_id == job).order_by(Shard.start)).all()


def begin(database: Database, shard_id: str, seconds: float = 60) -> tuple[Claim, shards.WorkOrder]:
    with database.write() as session:
        claim = leases.claim(session, "shard", shard_id, worker="w", seconds=seconds)
        assert claim is not None
        return claim, shards.begin(session, claim)


def chunks_of(index: int) -> list[ChunkCounts]:
    """Ten pilot samples in one chunk, a hundred in two."""
    return [
        ChunkCounts(index, "pilot", 0, [N0, 0, 0]),
        ChunkCounts(index, "estimate", 0, [50, 9, 1]),
        ChunkCounts(index, "estimate", 1, [30, 10, 0]),
    ]


def result_of(index: int, counts: Sequence[int] = (80, 19, 1)) -> InputResult:
    detail = {"pilot_counts": [N0, 0, 0], "counts": list(counts), "n": N}
    return InputResult(index, label=0, prediction=0, radius=0.1, abstained=False, detail=detail)


def record(database: Database, claim: Claim, *messages: ChunkCounts | InputResult) -> None:
    with database.write() as session:
        shards.record(
            session,
            claim,
            [m for m in messages if isinstance(m, ChunkCounts)],
            [m for m in messages if isinstance(m, InputResult)],
            seconds=60,
        )


def row(database: Database, job: str) -> Certification:
    with database.read() as session:
        return session.get_one(Certification, job)


def compute(database: Database, shard_id: str) -> None:
    claim, order = begin(database, shard_id)
    for index in order.indices:
        record(database, claim, *chunks_of(index), result_of(index))
    with database.write() as session:
        shards.finish(session, claim)
    with database.write() as session:
        factories.end(session, claim.job)


def test_cutting_covers_every_input_once_and_rings_for_each_shard(
    database: Database, bells: list[Bell], job: str
) -> None:
    with database.read() as session:
        rows = session.scalars(select(Shard).where(Shard.certification_id == job).order_by(Shard.start)).all()
        assert [list(shard.indices) for shard in rows] == [[0, 1], [2, 3], [4]]
    assert {bell.id for bell in bells if bell.noun == "shard"} == {shard.id for shard in rows}
    assert [bell.id for bell in bells if bell.noun == "certification"] == [job]


def unsharded(database: Database, inputs: int, shard_inputs: int) -> str:
    with database.write() as session:
        return certifications.add(
            session,
            certifications.new(
                factories.ready_model(session),
                factories.ready_dataset(session),
                method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": N0, "n": N},
                plan=factories.smoothing(N0, N),
                indices=range(inputs),
                cost=N0 + N,
                shard_inputs=shard_inputs,
            ),
        ).id


def take(database: Database, job: str, seconds: float = 60) -> Claim | None:
    with database.write() as session:
        return leases.claim(session, "certification", job, worker="w", seconds=seconds)


def turn(database: Database) -> Claim | None:
    with database.write() as session:
        return turns.take(session, worker="w", device=None, seconds=60, shard_seconds=30)


def test_what_is_cancelled_is_cut_no_further(database: Database) -> None:
    job = unsharded(database, inputs=10, shard_inputs=2)
    claims = [turn(database) for _ in range(3)]
    assert {claim.job for claim in claims if claim} == {job}
    with database.write() as session:
        certification = certifications.get(session, job, lock=True)
        assert certification is not None
        certifications.cancel(session, certification)
    assert turn(database) is None
    with database.read() as session:
        states = session.scalars(select(Shard.state).where(Shard.certification_id == job)).all()
        assert states == [JobState.CANCELLED] * 3
        assert list(leases.unattended(session)) == []


def test_a_job_whose_shards_have_ended_is_ended_by_one_worker(database: Database, job: str) -> None:
    ids = shard_ids(database, job)
    for shard_id in ids[1:]:
        compute(database, shard_id)
    assert take(database, job) is None
    claim, order = begin(database, ids[0])
    for index in order.indices:
        record(database, claim, *chunks_of(index), result_of(index))
    with database.write() as session:
        shards.finish(session, claim)
    assert row(database, job).state is JobState.RUNNING
    with database.read() as session:
        assert turns.due(session) == job
        assert list(leases.unattended(session)) == [Bell("certification", job)]
    with ThreadPoolExecutor(3) as pool:
        claims = [claim for claim in pool.map(lambda _: take(database, job), range(3)) if claim is not None]
    assert len(claims) == 1
    with database.read() as session:
        figures = certifications.conclusion(session, session.get_one(Certification, job))
    with database.write() as session:
        certifications.end(session, claims[0], figures)
    after = row(database, job)
    assert after.summary is not None and (after.state, after.summary["inputs"]) == (JobState.SUCCEEDED, 5)
    with pytest.raises(LostClaim), database.write() as session:
        certifications.end(session, claims[0], figures)


def test_what_is_not_due_to_end_is_not_ended(database: Database, job: str) -> None:
    """Nor is what its figures are not of all results of."""
    first, *_ = shard_ids(database, job)
    early = Claim("certification", job, row(database, job).fence, 1, job)
    with database.read() as session:
        concluded = certifications.conclusion(session, session.get_one(Certification, job))
    compute(database, first)
    with pytest.raises(LostClaim), database.write() as session:
        certifications.end(session, early, concluded)
    with database.write() as session:
        session.execute(update(Shard).where(Shard.certification_id == job).values(state=JobState.SUCCEEDED))
    with pytest.raises(CountsMismatch), database.write() as session:
        certifications.end(session, early, concluded)


def test_progress_is_written_while_the_certification_is_locked(database: Database, job: str) -> None:
    """On SQLite one transaction writes at a time; on PostgreSQL the others' shards are no obstacle, nor is the row that
    they share."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("a write locks all of an SQLite database")
    (first, _), (second, _) = (begin(database, shard_id) for shard_id in shard_ids(database, job)[:2])
    with database.write() as holder:
        certifications.get(holder, job, lock=True)
        shards.record(holder, first, chunks_of(0), [], seconds=60)
        with database.write() as session:
            session.execute(text("SET LOCAL lock_timeout = '5s'"))
            shards.record(session, second, chunks_of(2), [result_of(2)], seconds=60, report={"upper": 1.0})
        assert row(database, job).done == N0 + N
    assert row(database, job).done == 2 * (N0 + N)


def test_a_whole_job(database: Database, job: str) -> None:
    for shard_id in shard_ids(database, job):
        assert row(database, job).state in (JobState.QUEUED, JobState.RUNNING)
        compute(database, shard_id)
    after = row(database, job)
    assert (after.state, after.done, after.total) == (JobState.SUCCEEDED, 550, 550)
    assert after.summary == {
        "inputs": 5,
        "abstained": 0,
        "inputs_asked": 5,
        "complete": True,
        "accuracy": 1.0,
        "clean_accuracy": None,
        "at_target": None,
        "median_radius": 0.1,
        "decisions": None,
    }
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0
        assert [r.index for r in results.page(session, job, after=None, limit=9)[0]] == [0, 1, 2, 3, 4]


def test_chunks_in_any_order_twice_and_from_a_second_worker_count_once(database: Database, job: str) -> None:
    draw = random.Random(1)
    shard_id = shard_ids(database, job)[0]
    sent = [chunk for index in (0, 1) for chunk in chunks_of(index)] * 2
    draw.shuffle(sent)
    first, _ = begin(database, shard_id, seconds=-1)  # expired from the start: it dies after these
    record(database, first, *sent[:5])
    with database.write() as session:
        leases.release(session, first, blameless=False)
    second, order = begin(database, shard_id)
    assert {(c.index, c.stage, c.number) for c in order.chunks} == {(c.index, c.stage, c.number) for c in sent[:5]}
    with pytest.raises(LostClaim):
        record(database, first, *sent)
    record(database, second, *sent[5:])
    record(database, second, result_of(0), result_of(1), result_of(0))
    record(database, second, *chunks_of(0), result_of(0))
    assert row(database, job).done == 2 * (N0 + N)


def test_a_result_whose_counts_are_not_its_chunks_is_refused_whole(database: Database, job: str) -> None:
    claim, _ = begin(database, shard_ids(database, job)[0])
    wrong = (result_of(0, (81, 18, 1)), result_of(1))  # other counts; no chunks at all
    for result in wrong:
        with pytest.raises(CountsMismatch):
            record(database, claim, *chunks_of(0), result)
    assert row(database, job).done == 0
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0


def test_a_decision_that_needed_no_sample_has_none(database: Database, job: str) -> None:
    """Most of its pilot was not finite. A radius without samples is refused all the same."""
    claim, _ = begin(database, shard_ids(database, job)[0])
    pilot = ChunkCounts(0, "pilot", 0, [1, 0, N0 - 1])
    detail = {"pilot_counts": pilot.counts, "counts": [0, 0, 0], "n": 0, "unspent": N, "decision": "undecided"}
    decided = InputResult(0, label=0, prediction=None, radius=None, abstained=True, detail=detail)
    with pytest.raises(CountsMismatch):
        record(database, claim, pilot, replace(decided, detail={**detail, "n": N}))
    record(database, claim, pilot, decided)
    assert row(database, job).done == N0 + N


def test_mean_scores_that_are_not_those_of_the_chunks_are_refused(database: Database, job: str) -> None:
    claim, _ = begin(database, shard_ids(database, job)[0])
    pilot, *fresh = chunks_of(0)
    # 60 samples of mean 0.8 and 40 of mean 0.6 have mean 0.72
    parts = [replace(c, scores={"mean": [m, 1 - m, 0.0]}) for c, m in zip(fresh, (0.8, 0.6), strict=True)]
    said = result_of(0)
    for mean, held in ((0.7201, False), (float("nan"), False), (0.72, True)):
        scores = {"mean": [mean, 1 - mean, 0.0]}
        result = replace(said, detail={**said.detail, "scores": scores})
        if held:
            record(database, claim, pilot, *parts, result)
        else:
            with pytest.raises(CountsMismatch):
                record(database, claim, pilot, *parts, result)
    assert row(database, job).done == N0 + N


def test_a_shard_can_not_finish_without_all_its_results(database: Database, job: str) -> None:
    claim, _ = begin(database, shard_ids(database, job)[0])
    record(database, claim, *chunks_of(0), result_of(0))
    with pytest.raises(CountsMismatch), database.write() as session:
        shards.finish(session, claim)


def test_an_interrupted_shard_goes_on_where_it_stopped(database: Database, job: str) -> None:
    shard_id = shard_ids(database, job)[0]
    claim, order = begin(database, shard_id)
    assert (order.indices, order.chunks) == ([0, 1], [])
    record(database, claim, *chunks_of(0), result_of(0), *chunks_of(1)[:2])
    with database.write() as session:
        leases.release(session, claim, blameless=True)
    _, order = begin(database, shard_id)
    assert order.indices == [1]
    assert order.chunks == chunks_of(1)[:2]


def test_progress_forgets_earlier_attempts(database: Database, job: str) -> None:
    shard_id = shard_ids(database, job)[0]
    for attempt in (1, 2):
        claim, _ = begin(database, shard_id)
        assert claim.attempts == attempt
        with database.write() as session:
            leases.release(session, claim, blameless=False)
    claim, _ = begin(database, shard_id)
    record(database, claim, chunks_of(0)[0])
    record(database, claim, chunks_of(0)[0])  # nothing new: no progress
    with database.write() as session:
        leases.release(session, claim, blameless=False)
    assert begin(database, shard_id)[0].attempts == 1


def test_cancelling_ends_the_job_and_takes_the_shards_from_their_workers(database: Database, job: str) -> None:
    claim, _ = begin(database, shard_ids(database, job)[0])
    record(database, claim, *chunks_of(0), result_of(0), *chunks_of(1)[:1])
    with database.write() as session:
        certification = certifications.get(session, job, lock=True)
        assert certification is not None
        certifications.cancel(session, certification)
    after = row(database, job)
    assert after.state is JobState.CANCELLED
    assert after.summary is not None and after.summary["inputs"] == 1
    with pytest.raises(LostClaim):
        record(database, claim, *chunks_of(1))
    with pytest.raises(LostClaim), database.write() as session:
        shards.finish(session, claim)
    with database.write() as session:
        assert list(leases.unattended(session)) == []
        assert session.scalar(select(func.count()).select_from(Chunk)) == 0
        certification = certifications.get(session, job, lock=True)
        assert certification is not None
        with pytest.raises(IllegalMove):
            certifications.cancel(session, certification)


def test_a_failed_shard_fails_the_job_with_its_problem(database: Database, job: str) -> None:
    first, second, _ = shard_ids(database, job)
    claim, _ = begin(database, first)
    other, _ = begin(database, second)
    with database.write() as session:
        shards.fail(session, claim, {"title": "broken"})
    after = row(database, job)
    assert (after.state, after.problem) == (JobState.FAILED, {"title": "broken"})
    with pytest.raises(LostClaim):
        record(database, other, *chunks_of(2))


def test_shards_that_end_at_the_same_time_end_the_job_once(database: Database, job: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda shard_id: compute(database, shard_id), shard_ids(database, job)))
    after = row(database, job)
    assert (after.state, after.done) == (JobState.SUCCEEDED, 550)


def test_pages_of_results(database: Database, job: str) -> None:
    for shard_id in shard_ids(database, job):
        compute(database, shard_id)
    with database.read() as session:
        first, cursor = results.page(session, job, after=None, limit=3)
        last, end = results.page(session, job, after=cursor, limit=3)
    assert ([r.index for r in first], cursor) == ([0, 1, 2], 2)
    assert ([r.index for r in last], end) == ([3, 4], None)


def test_two_external_files_may_be_one_upload(database: Database) -> None:
    with database.write() as session:
        model, weights = factories.upload(session, b"model"), factories.upload(session, b"weights")
        row, _ = intake.add_model(session, model, name="x", settings={}, external={"a": weights, "b": weights})
        assert shards.external_blobs(session, row) == {"a": weights.sha256, "b": weights.sha256}


def test_what_runs_the_samples_is_settled_once(database: Database, job: str) -> None:
    """Two workers propose at once; the first one's word stands, in later orders too, and in the summary."""
    first, second, _ = shard_ids(database, job)
    claims = [begin(database, shard)[0] for shard in (first, second)]
    proposals: list[dict[str, object]] = [{"executor": "torch", "batch_size": size} for size in (100, 500)]

    def settled(claim: Claim, proposal: dict[str, object]) -> dict[str, object]:
        with database.write() as session:
            return shards.settle(session, claim, proposal)

    with ThreadPoolExecutor() as pool:
        one, other = pool.map(settled, claims, proposals)
    assert one == other and one in proposals
    with database.write() as session:
        assert shards.begin(session, claims[0]).execution == one
        certification = certifications.get(session, job, lock=True)
        assert certification is not None
        certifications.cancel(session, certification)
        assert certification.summary is not None and certification.summary["execution"] == one
    with pytest.raises(LostClaim):
        settled(claims[0], proposals[0])


def test_a_later_certification_of_the_network_hears_what_was_found(database: Database, job: str) -> None:
    found = {"executor": "torch", "batch_size": 500, "searched": {"device": "cpu, AVX2", "samples": 10**6}}
    claim, order = begin(database, shard_ids(database, job)[0])
    assert order.executions == []
    with database.write() as session:
        assert shards.settle(session, claim, found) == found
        first = session.get_one(Certification, job)
        same, behind, other = (factories.certification(session, inputs=1) for _ in range(3))
        another = factories.ready_model(session, content=b"another")
        assert same.model_id == behind.model_id == first.model_id != another.id
        behind.denoiser_model_id = other.model_id = another.id
        theirs = factories.certification(session, tenant="other", inputs=1)  # of the very same network
        names = [row.id for row in (same, behind, other, theirs)]
    heard = []
    for name in names:
        claim, order = begin(database, shard_ids(database, name)[0])
        heard.append(order.executions)
        with database.write() as session:  # not searched for: a few samples
            shards.settle(session, claim, {"executor": "torch", "batch_size": 100})
    assert heard == [[{**found, "method": order.method}], [], [], []]


def test_what_an_earlier_version_did_not_add_up_is_added_up_at_the_end(database: Database, job: str) -> None:
    """A summary made of the sums of shards is that of all results."""
    for shard_id in shard_ids(database, job):
        compute(database, shard_id)
    with database.write() as session:
        certification = session.get_one(Certification, job)
        assert certification.totals.inputs == 5
        added_up = certifications.conclusion(session, certification)
        certification.totals = Totals()
        assert certifications.conclusion(session, certification) == added_up
    assert added_up["inputs"] == 5 and added_up["median_radius"] is not None
