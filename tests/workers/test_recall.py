"""Asked again, the very same questions are answered by a fresh service, in which nothing that computes is awake."""

import os
import signal
from typing import Any

import psutil

from models.tables import Certification
from tests.workers.answers import done, reports, results
from tests.workers.harness import Service, wait_for

RUNNER = "workers.runner"
QUESTIONS: dict[str, dict[str, Any]] = {
    "radius": {"kind": "smoothing", "sigma": 0.1, "n": 1000, "cross_check": 2},
    "decide": {"kind": "smoothing", "sigma": 0.25, "n": 20_000, "mode": "decide", "target_radius": 0.1},
    "soft": {"kind": "smoothing", "sigma": 0.25, "n": 1000, "scores": "soft", "family_wise": True},
    "prediction": {"kind": "prediction", "sigma": 0.25, "n": 200},
    "lipschitz": {"kind": "lipschitz", "cross_check": 1},
}
OWN = {"seconds", "reused", "executor", "batch_size", "device", "other_noises", "answered_by"}


def said(service: Service, job: str) -> list[tuple[Any, ...]]:
    row = service.get(Certification, job)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    return [
        (r.label, r.prediction, r.radius, r.abstained, {k: v for k, v in r.detail.items() if k not in OWN})
        for r in results(service, job)
    ]


def test_what_is_known_needs_no_runner(service: Service, digits: tuple[str, str]) -> None:
    worker = service.start()
    first = {name: service.certify(*digits, 3, shard_inputs=2, **asked) for name, asked in QUESTIONS.items()}
    for job in first.values():
        done(service, job)
    assert service.child(RUNNER) is not None
    os.kill(worker.pid, signal.SIGTERM)
    wait_for(lambda: not service.family())
    worker.wait()

    service.start()
    wait_for(lambda: service.child(RUNNER) is not None)  # warm, before there is any work
    idle = service.child(RUNNER)
    assert idle is not None
    idle.suspend()
    again = {name: service.certify(*digits, 3, shard_inputs=2, **asked) for name, asked in QUESTIONS.items()}
    for name, job in again.items():
        done(service, job)
        assert said(service, job) == said(service, first[name])
        details = [r.detail for r in results(service, job)]
        assert all(detail["answered_by"] == first[name] and detail["seconds"] == 0 for detail in details)
        if name != "lipschitz":
            assert all(detail["reused"] > 0 and "executor" not in detail for detail in details)
        assert reports(service, job) == reports(service, first[name])
        summary = service.get(Certification, job).summary
        assert summary.get("cross_check") == service.get(Certification, first[name]).summary.get("cross_check")
    assert service.child(RUNNER) == idle  # which could have computed nothing
    assert idle.status() == psutil.STATUS_STOPPED
    idle.resume()

    # Others were drawn: one that was never attacked is, and only then something computes.
    checked = service.certify(*digits, 3, **QUESTIONS["radius"] | {"cross_check": 3})
    done(service, checked)
    assert ["attack" in r.detail for r in results(service, checked)] == [
        r.radius is not None for r in results(service, checked)
    ]
    assert [row[:4] for row in said(service, checked)] == [row[:4] for row in said(service, first["radius"])]
