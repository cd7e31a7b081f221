"""Real workers take turns: a small job passes a long queue, and several share one job, or one input of it."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from models.repositories import certifications
from models.states import JobState
from models.tables import Certification, Pace, Shard
from tests.workers.answers import done, results, said, shards, truth
from tests.workers.harness import EXAMPLES, Service, installation, wait_for

# What is written is tried on both databases in tests/models; here processes are, which take their time.
pytestmark = pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)

SMALL: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 2500}
LONG: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 100_000}
QUEUED = 1000


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_socket: Path, broker_url: str | None) -> Iterator[Service]:
    """An installation with short shards."""
    with installation(tmp_path / "data", database_url, redis_socket, broker_url, shard_seconds=0.3) as service:
        yield service


@pytest.fixture
def digits(service: Service) -> tuple[str, str]:
    return service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")


@pytest.mark.parametrize("broker_url", ["redis", "rabbitmq"], indirect=True)
def test_a_small_job_passes_a_thousand_queued_ones(service: Service, digits: tuple[str, str]) -> None:
    queued = [service.certify(*digits, 1, key="flood", **LONG) for _ in range(QUEUED)]
    service.start()
    wait_for(lambda: service.get(Certification, queued[0]).started_at)
    small = service.certify(*digits, 1, key="other", interactive=True, **SMALL)
    done(service, small)
    assert said(service, small) == truth(1, SMALL["n"])
    row = service.get(Certification, small)
    between = Certification.started_at.between(row.created_at, row.started_at), Certification.id != small
    with service.database.read() as session:
        assert len(session.scalars(select(Certification.id).where(*between)).all()) <= 1  # whose turn it was already
        for job in session.scalars(select(Certification).where(Certification.id.in_(queued))):
            assert job.state in (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)


def both_warm(service: Service, digits: tuple[str, str]) -> None:
    """Two workers, each of which has computed something."""
    for _ in range(2):
        service.start()
    seen: set[str | None] = set()

    def both() -> bool:
        job = service.certify(*digits, 8, shard_inputs=1, kind="prediction", sigma=0.01 * (1 + len(seen)), n=50_000)
        done(service, job)
        seen.update(shard.worker for shard in shards(service, job))
        return len(seen) > 1

    wait_for(both)


def test_two_workers_share_the_samples_of_one_input_and_count_what_one_counts(
    service: Service, digits: tuple[str, str]
) -> None:
    """Nothing is known of its pace at first: it is stopped when it has taken too long."""
    both_warm(service, digits)
    n = 1_000_000
    job = service.certify(*digits, 1, **LONG | {"n": n})
    done(service, job)
    assert said(service, job) == truth(1, n)
    work = shards(service, job)
    parts = [shard for shard in work if shard.first_chunk is not None]
    assert len(parts) >= 2 and len({shard.worker for shard in parts}) == 2
    ranges = sorted((shard.first_chunk, shard.stop_chunk) for shard in parts)
    assert (ranges[0][0], ranges[-1][1]) == (0, n // 1000)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    [last] = [shard for shard in work if shard.first_chunk is None]
    assert last.state is JobState.SUCCEEDED
    with service.database.read() as session:
        methods = {pace.method: pace for pace in session.scalars(select(Pace))}
        assert {pace.device for pace in methods.values()} == {"cpu"} and methods["smoothing"].per_second > 0


def test_parts_of_a_prediction_come_to_the_very_result(service: Service, digits: tuple[str, str]) -> None:
    """By a pace that makes it of several shards; nothing is reused between two tenants."""
    asked: dict[str, Any] = {"kind": "prediction", "sigma": 0.25, "n": 40_000}
    service.start()
    whole = service.certify(*digits, 1, **asked)
    done(service, whole)
    [plain] = results(service, whole)
    other = service.known_model(EXAMPLES / "digits.onnx", tenant="other")
    data = service.known_dataset(EXAMPLES / "digits.npz", tenant="other")
    with service.database.write() as session:
        slow = {"model_id": other, "denoiser_model_id": "", "method": "prediction", "device": "cpu"}
        session.add(Pace(tenant="other", **slow, per_second=7000.0))
    shared = service.certify(other, data, 1, **asked)
    done(service, shared)
    [found] = results(service, shared)
    work = shards(service, shared)
    assert len(work) > 3 and [shard.first_chunk for shard in work].count(None) == 1
    assert (found.prediction, found.detail["counts"]) == (plain.prediction, plain.detail["counts"])
    assert "reused" not in found.detail or found.detail["reused"] == 0


def test_a_cancelled_job_in_parts_leaves_nothing_behind(service: Service, digits: tuple[str, str]) -> None:
    job = service.certify(*digits, 1, **LONG | {"n": 30_000_000})
    service.start()
    wait_for(lambda: len(shards(service, job)) > 2)
    with service.database.write() as session:
        row = certifications.get(session, job, lock=True)
        assert row is not None
        certifications.cancel(session, row)
    small = service.certify(*digits, 1, **SMALL)
    done(service, small)
    with service.database.read() as session:
        open_ones = select(Shard.id).where(Shard.certification_id == job, Shard.state.in_(("queued", "running")))
        assert session.scalars(open_ones).all() == []
