"""A bell is answered, whatever waits before it."""

import pytest
from sqlalchemy import select

from models.base import now
from models.bell import Bell
from models.database import Database
from models.plan import Plan
from models.repositories import certifications
from models.states import JobState
from models.tables import Certification, Report, Shard
from tests import factories
from workers.answer import answer
from workers.worker import Worker


@pytest.fixture
def inconclusive(database: Database) -> str:
    """A certification whose shards have ended, and whose report lacks what its summary says of it."""
    with database.write() as session:
        job = certifications.add(
            session,
            certifications.new(
                factories.ready_model(session),
                factories.ready_dataset(session),
                method={"kind": "lipschitz"},
                plan=Plan(figures={"bound": ("upper",)}),
                indices=range(1),
                cost=1,
                shard_inputs=1,
            ),
        )
        job.unsharded, job.state, job.due_at = 0, JobState.RUNNING, now()
        session.add(Report(certification_id=job.id, document={}))
        return job.id


def test_a_row_that_nothing_can_be_made_of_ends_and_keeps_no_other_waiting(
    worker: Worker, database: Database, inconclusive: str
) -> None:
    with database.write() as session:
        other = factories.certification(session, inputs=2, shard_inputs=2).id
        [shard] = session.scalars(select(Shard.id).where(Shard.certification_id == other))
    answer(worker, Bell("shard", shard))
    with database.read() as session:
        row = session.get_one(Certification, inconclusive)
        assert (row.state, row.problem and row.problem["type"]) == (JobState.FAILED, "/problems/internal-error")
        assert row.problem is not None and "KeyError: 'upper'" in row.problem["detail"]
        assert row.summary is not None and (row.summary["inputs"], row.summary["complete"]) == (0, False)
        assert session.get_one(Shard, shard).fence == 1  # whose bell it was


def test_a_row_whose_figures_can_not_be_made_can_be_cancelled(database: Database, inconclusive: str) -> None:
    with database.write() as session:
        row = certifications.get(session, inconclusive, lock=True)
        assert row is not None
        certifications.cancel(session, row)
    with database.read() as session:
        row = session.get_one(Certification, inconclusive)
        assert row.state is JobState.CANCELLED and row.summary is not None and row.summary["inputs_asked"] == 1


def test_a_row_that_can_not_even_be_failed_keeps_no_other_waiting(
    worker: Worker, database: Database, inconclusive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        other = factories.certification(session, inputs=2, shard_inputs=2).id
        [shard] = session.scalars(select(Shard.id).where(Shard.certification_id == other))

    def broken(*_: object) -> None:
        raise KeyError("nobody foresaw it")

    monkeypatch.setattr(certifications, "fail", broken)
    answer(worker, Bell("shard", shard))
    with database.read() as session:
        assert session.get_one(Certification, inconclusive).state is JobState.RUNNING
        assert session.get_one(Shard, shard).fence == 1
