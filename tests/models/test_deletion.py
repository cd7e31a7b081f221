"""What is deleted goes piece by piece, nothing that is needed goes, and what was counted stays."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models.base import Base, now
from models.blobs import Blobs
from models.database import Database
from models.housekeeping import foreseen, tidy
from models.ids import BATCH, CERTIFICATION, DATASET, MODEL, UPLOAD
from models.installation import confirm
from models.principal import DEFAULT_TENANT, EVERYTHING, Principal
from models.problems import Problem
from models.repositories import certifications, deletion, intake, leases, ledger, shards, uploads
from models.repositories.leases import LostClaim
from models.states import JobState
from models.tables import Answer, Certification, Chunk, Dataset, Ledger, LooseBlob, Model, Result, Shard, Upload
from models.tables.owned import GONE, OfCertification
from tests import factories

OWN = Principal(DEFAULT_TENANT, "key_own", EVERYTHING)
OLD = timedelta(days=40)


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


def delete(database: Database, prefix: str, row_id: str) -> dict[str, list[str]]:
    """As a request does, with ``?cascade=true``."""
    with database.write_as(OWN) as session:
        assert deletion.lock(session, prefix, [row_id]) == [row_id]
        needing = deletion.needing(session, prefix, [row_id], locked=True)
        for other, ids in (needing | {prefix: [row_id]}).items():
            deletion.bury(session, other, ids)
        return needing


@pytest.fixture(autouse=True)
def marked(database: Database, blobs: Blobs) -> None:
    """The store is the database's, as a start sees to it: here are rows that name blobs which nobody has sent."""
    confirm(database, blobs)


@pytest.fixture
def job(database: Database) -> str:
    """A certification under way, with 25 results, chunks, ledger and an answer."""
    with database.write() as session:
        row = factories.certification(session, inputs=50, shard_inputs=10)
        own: dict[str, Any] = {"tenant": DEFAULT_TENANT, "model": "d" * 64, "input": "x"}
        session.add(Ledger(**own, noise="{}", stage="pilot", samples=10, counts=[10]))
        session.add(Answer(**own, question="q", certification_id=row.id, abstained=True, detail={}))
        for index in range(25):
            session.add(Result(certification_id=row.id, index=index, abstained=True, detail={}))
            session.add(Chunk(certification_id=row.id, index=index + 25, stage="pilot", number=0, counts=[10]))
        return row.id


def test_what_needs_a_row_is_found_through_others(database: Database, job: str) -> None:
    with database.write() as session:
        row = session.get_one(Certification, job)
        weights = factories.upload(session, b"weights")
        other, _ = intake.add_model(
            session, factories.upload(session, b"net"), name="n", settings={}, external={"w_1": weights}
        )
        denoised = certifications.add(
            session,
            certifications.new(
                row.model,
                row.dataset,
                denoiser=other,
                method=row.method,
                plan=row.plan,
                indices=range(5),
                cost=110,
                shard_inputs=5,
            ),
        )
        session.flush()
        expected: list[tuple[str, str, dict[str, set[str]]]] = [
            (UPLOAD, row.model.upload_id, {MODEL: {row.model_id}, CERTIFICATION: {job, denoised.id}}),
            (UPLOAD, row.dataset.upload_id, {DATASET: {row.dataset_id}, CERTIFICATION: {job, denoised.id}}),
            (UPLOAD, weights.id, {MODEL: {other.id}, CERTIFICATION: {denoised.id}}),
            (MODEL, other.id, {CERTIFICATION: {denoised.id}}),
            (CERTIFICATION, job, {}),
        ]
        for prefix, row_id, needing in expected:
            found = deletion.needing(session, prefix, [row_id])
            assert {kind: set(ids) for kind, ids in found.items()} == needing
        free = {
            prefix: set(session.scalars(select(kind.table.id).where(*deletion.unneeded(prefix))))
            for prefix, kind in deletion.KINDS.items()
        }
        nothing: dict[str, set[str]] = {prefix: set() for prefix in (UPLOAD, MODEL, DATASET, BATCH)}
        assert free == nothing | {CERTIFICATION: {job, denoised.id}}


def test_a_deleted_upload_takes_all_with_it_but_what_was_counted(database: Database, job: str, blobs: Blobs) -> None:
    with database.write() as session:
        row = session.get_one(Certification, job)
        upload_id, dataset_id = row.model.upload_id, row.dataset_id
        first = session.scalars(select(Shard.id).where(Shard.certification_id == job).order_by(Shard.start)).first()
        claim = leases.claim(session, "shard", str(first), worker="w", seconds=60)
        assert claim is not None
        shards.begin(session, claim)
    delete(database, UPLOAD, upload_id)
    with database.read_as(OWN) as session:  # at once, whatever is there yet
        for table in (Model, Certification, Result, Shard):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    for write in (shards.finish, lambda session, claim: shards.record(session, claim, [], [], seconds=9)):
        with pytest.raises(LostClaim), database.write() as session:
            write(session, claim)
    with database.write() as session:
        assert 0 < deletion.remove(session, rows=10) <= 10  # of 50 and more
    done = tidy(database, blobs, None)
    assert done.removed > 40
    for part in (Certification, *OfCertification.__subclasses__()):
        assert count(database, part) == 0  # type: ignore[arg-type]
    assert (count(database, Model), count(database, Upload)) == (0, 1)
    with database.read() as session:
        assert session.scalars(select(Dataset.id)).all() == [dataset_id]
    assert (count(database, Ledger), count(database, Answer)) == (1, 1)
    ends: tuple[Callable[[Session], Any], ...] = (
        lambda session: shards.finish(session, claim),
        lambda session: shards.fail(session, claim, {}),
        lambda session: leases.attempts(session, claim),
    )
    for end in ends:  # of rows that are not there any more
        with pytest.raises(LostClaim), database.write() as session:
            end(session)


def test_the_same_bytes_are_another_model_after_it_was_deleted(database: Database, job: str) -> None:
    with database.write() as session:
        before = session.get_one(Certification, job)
        rows = {MODEL: before.model_id, DATASET: before.dataset_id}
    for prefix, row_id in rows.items():
        delete(database, prefix, row_id)
    with database.write() as session:
        again = factories.certification(session)
        assert {again.model_id, again.dataset_id}.isdisjoint(rows.values())


def test_what_intake_works_on_can_be_deleted(database: Database, blobs: Blobs) -> None:
    with database.write() as session:
        model = factories.validating_model(session).id
        session.flush()
        claim = leases.claim(session, "model", model, worker="w", seconds=60)
        assert claim is not None
    delete(database, MODEL, model)
    writes: tuple[Callable[[Session], None], ...] = (
        lambda session: leases.renew(session, claim, seconds=9),
        lambda session: intake.accept(session, claim, {}),
    )
    for write in writes:
        with pytest.raises(LostClaim), database.write() as session:
            write(session)
    tidy(database, blobs, None)
    assert count(database, Model) == 0
    with pytest.raises(LostClaim), database.write() as session:
        intake.accept(session, claim, {})


def _aged(database: Database, *tables: Any) -> None:
    with database.write() as session:
        for table in tables:
            column = table.created_at if table is Upload else table.finished_at
            session.execute(update(table).values({column: now() - OLD}))


def test_by_age_goes_what_has_ended_and_then_what_it_needed(database: Database, job: str, blobs: Blobs) -> None:
    _aged(database, Model, Dataset, Upload)
    assert not any(tidy(database, blobs, 30))  # it runs
    with database.write() as session:
        certifications.cancel(session, session.get_one(Certification, job))
    assert not any(tidy(database, blobs, 30))  # it has just ended
    _aged(database, Certification)
    assert not any(tidy(database, blobs, None))  # nobody said how long
    assert not any(tidy(database, blobs, 50))
    expected = {CERTIFICATION: 1, DATASET: 1, MODEL: 1, UPLOAD: 2}
    assert foreseen(database, blobs, 30).rows == expected
    assert count(database, Certification) == 1
    assert tidy(database, blobs, 30).rows == expected
    for table in (Certification, Model, Dataset, Upload, Result):
        assert count(database, table) == 0
    assert count(database, Ledger) == 1


def test_an_upload_of_which_nothing_is_made_goes_after_a_day(database: Database, blobs: Blobs) -> None:
    with database.write() as session:
        factories.validating_model(session)
        weights, unused = (factories.upload(session, content) for content in (b"weights", b"unused"))
        sent = factories.upload(session, b"other")
        intake.add_model(session, sent, name="m", settings={}, external={"w": weights})
        ids = unused.id
    assert not any(tidy(database, blobs, None))
    _aged(database, Upload)
    with database.write() as session:
        fresh = factories.upload(session, b"fresh").id
    assert tidy(database, blobs, None).rows == {UPLOAD: 1}
    with database.read() as session:
        kept = set(session.scalars(select(Upload.id)))
    assert fresh in kept and ids not in kept and len(kept) == 4


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
@pytest.mark.parametrize("first", ["delete", "register"])
def test_a_row_is_not_deleted_while_another_comes_to_need_it(database: Database, first: str) -> None:
    """Whoever comes second waits for the first, and then sees what it did."""
    with database.write() as session:
        upload_id = factories.upload(session).id

    def register(session: Any) -> bool:
        upload = uploads.get(session, upload_id, lock=True)
        return upload is not None and intake.add_model(session, upload, name="m", settings={}, external={})[1]

    def remove(session: Any) -> bool:
        if not deletion.lock(session, UPLOAD, [upload_id]) or deletion.needing(session, UPLOAD, [upload_id]):
            return False
        deletion.bury(session, UPLOAD, [upload_id])
        return True

    acts: list[Callable[[Session], bool]] = [remove, register] if first == "delete" else [register, remove]
    said: list[bool] = []

    def second() -> None:
        with database.write_as(OWN) as session:
            said.append(acts[1](session))

    thread = threading.Thread(target=second)
    with database.write_as(OWN) as session:
        assert acts[0](session)
        thread.start()
        wait_for_a_lock(database)
    thread.join(30)
    assert said == [False]


def wait_for_a_lock(database: Database) -> None:
    """Until a transaction waits for another."""
    of_locks = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.engine.connect() as look:
        while not look.exec_driver_sql(f"SELECT count(*) {of_locks}").scalar_one():
            look.rollback()


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("prefix", "problem"),
    [(MODEL, Problem.MODEL_UNREADABLE), (DATASET, Problem.DATA_UNREADABLE), (MODEL, Problem.FILE_MISSING)],
)
def test_who_deletes_and_who_distrusts_a_row_do_not_wait_for_each_other(
    database: Database, job: str, prefix: str, problem: Problem
) -> None:
    """Both lock it, and a certification that needs it. Whoever comes second finds its claim lost."""
    with database.write() as session:
        row = session.get_one(Certification, job)
        row_id = {MODEL: row.model_id, DATASET: row.dataset_id}[prefix]
        shard = session.scalars(select(Shard).order_by(Shard.start)).first()
        assert shard is not None
        claim = leases.claim(session, "shard", shard.id, worker="w", seconds=60)
    assert claim is not None
    said: list[str] = []

    def fail() -> None:
        try:
            with database.write() as session:
                shards.fail(session, claim, problem.document("It is gone."))
            said.append("failed")
        except LostClaim:
            said.append("lost")

    thread = threading.Thread(target=fail)
    with database.write_as(OWN) as session:
        assert deletion.lock(session, prefix, [row_id]) == [row_id]
        thread.start()
        wait_for_a_lock(database)
        needing = deletion.needing(session, prefix, [row_id], locked=True)
        assert needing == {CERTIFICATION: [job]}
        for other, ids in (needing | {prefix: [row_id]}).items():
            deletion.bury(session, other, ids)
    thread.join(30)
    assert said == ["lost"]


def test_the_ledger_answers_for_a_deleted_certification(database: Database, job: str, blobs: Blobs) -> None:
    delete(database, CERTIFICATION, job)
    tidy(database, blobs, None)
    with database.read() as session:
        streams = ledger.Streams(DEFAULT_TENANT, "d" * 64, "{}", {3: "x"})
        assert ledger.beginnings(session, streams, "pilot", 10)[3].counts == [10]
        assert session.scalar(select(func.count()).select_from(LooseBlob)) == 0


def test_nothing_that_is_kept_is_nobodys(database: Database, job: str) -> None:
    with database.read() as session:
        assert session.scalar(select(func.count()).where(Certification.tenant == GONE)) == 0
        assert session.get_one(Certification, job).state is JobState.QUEUED
