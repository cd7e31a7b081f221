"""Tiny jobs by real workers: together or alone, they come to the same."""

import os
import signal
from typing import Any

from models.repositories import certifications
from models.states import TERMINAL
from models.tables import Certification
from tests.workers.answers import done, said, shards, truth
from tests.workers.harness import Service, wait_for

TINY: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 2500}


def submit(service: Service, digits: tuple[str, str], indices: range) -> list[str]:
    """A job of each of the inputs."""
    return [service.certify(*digits, 1, start=index, **TINY) for index in indices]


def test_they_say_what_the_library_computes(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    jobs = submit(service, digits, range(12))
    for job in jobs:
        done(service, job)
    assert [said(service, job) for job in jobs] == [[one] for one in truth(12, TINY["n"])]
    for job in jobs:
        row = service.get(Certification, job)
        assert row.done == row.total and row.summary["inputs"] == 1


def test_a_kill_and_a_cancellation_among_them_change_no_count(service: Service, digits: tuple[str, str]) -> None:
    worker = service.start()
    for job in submit(service, digits, range(2)):  # so that it is known how long they take
        done(service, job)
    *jobs, other = submit(service, digits, range(2, 12))
    with service.database.write() as session:
        row = certifications.get(session, other, lock=True)
        assert row is not None
        if row.state not in TERMINAL:
            certifications.cancel(session, row)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())
    worker.wait()
    service.start()
    for job in jobs:
        done(service, job)
        assert len(shards(service, job)) == 1
    assert [said(service, job) for job in jobs] == [[one] for one in truth(11, TINY["n"])[2:]]
