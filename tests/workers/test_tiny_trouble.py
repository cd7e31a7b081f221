"""Tiny jobs that something is wrong with cost no other job its result, and keep none waiting."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.bell import Bell
from models.database import Database
from models.repositories import leases
from models.states import JobState
from models.tables import Certification, Dataset, Result, Shard
from tests.models.test_tiny import begun, computed, job, pair  # noqa: F401 (the last is a fixture)
from workers import tiny
from workers.answer import answer
from workers.supervisor import supervisor_of
from workers.worker import Worker


def test_one_that_the_database_refuses_fails_alone(worker: Worker, database: Database, pair: tuple[str, str]) -> None:  # noqa: F811
    for index in range(3):
        job(database, pair, range(index, index + 1))
    jobs = begun(database)
    with database.write() as session:
        said = {"prediction": 0, "radius": 0.5, "abstained": False, "detail": {}}
        session.add(Result(certification_id=jobs[1].claim.job, index=1, label=0, **said))
    tiny._end(worker, [computed(one) for one in jobs])
    with database.read() as session:
        rows = [session.get_one(Certification, one.claim.job) for one in jobs]
        assert [row.state for row in rows] == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]
        assert rows[1].problem is not None and "The database refused" in rows[1].problem["detail"]
        assert [session.get_one(Shard, one.claim.id).state for one in jobs] == [row.state for row in rows]


@pytest.mark.parametrize("ill", ["its inputs are no array", "intake never accepted it"])
def test_one_whose_inputs_can_not_be_read_fails_and_is_not_next_for_ever(
    worker: Worker,
    database: Database,
    pair: tuple[str, str],  # noqa: F811
    tmp_path: Path,
    ill: str,
) -> None:
    one = job(database, pair, range(1))
    for name in ("x", "model"):
        (tmp_path / name).write_bytes(b"no array")
    x, network = (worker.blobs.adopt(tmp_path / name) for name in ("x", "model"))
    with database.write() as session:
        dataset, row = session.get_one(Dataset, pair[1]), session.get_one(Certification, one)
        dataset.summary = (dataset.summary or {}) | {"x_blob": x, "y_blob": None}
        row.model.upload.sha256 = network
        if ill == "intake never accepted it":
            dataset.summary = None
    answer(worker, Bell("certification", one))
    with database.read() as session:
        row = session.get_one(Certification, one)
        assert row.state is JobState.FAILED and row.problem is not None


def test_what_nobody_foresaw_amid_them_leaves_the_rest_to_anyone_at_once(
    worker: Worker,
    database: Database,
    pair: tuple[str, str],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for index in range(3):
        job(database, pair, range(index, index + 1))
    jobs = begun(database)
    killed: list[bool] = []

    def breaks(*given: Any) -> None:
        given[-1].append(computed(jobs[0]))
        raise KeyError("nobody foresaw it")

    monkeypatch.setattr(tiny, "_begun", lambda *_: jobs)
    monkeypatch.setattr(tiny, "_compute", breaks)
    runner = SimpleNamespace(kill=lambda: killed.append(True))
    monkeypatch.setattr(supervisor_of(worker), "lend", lambda _claim: runner)
    with pytest.raises(KeyError):
        tiny.together(worker)
    assert killed == [True] and worker.activity.working is None
    with database.write() as session:
        states = [session.get_one(Certification, one.claim.job).state for one in jobs]
        assert states == [JobState.SUCCEEDED, JobState.RUNNING, JobState.RUNNING]
        for one in jobs[1:]:
            taken = leases.claim(session, "shard", one.claim.id, worker="other", seconds=60)
            assert taken is not None and taken.attempts == 1  # what broke costs them nothing
