"""Real workers on real brokers, killed, cancelled and shut down: what comes out is what the library computes."""

import json
import os
import signal
from typing import Any

import psutil
import pytest

from models.repositories import certifications
from models.states import TERMINAL
from models.tables import Certification, Model
from radii.lipschitz import network_bound
from tests.reports import nearly, timeless
from tests.workers.answers import done, reports, results, said, shards, truth
from tests.workers.harness import EXAMPLES, Service, on_both_brokers, wait_for

pytestmark = on_both_brokers

LONG: dict[str, Any] = {"kind": "smoothing", "sigma": 0.25, "n": 300_000}  # an input is a shard of about a second
RUNNER, READER = "workers.runner", "workers.intake.fork_server"


def test_kill_9_of_a_worker_and_the_loss_of_all_messages_change_no_count(
    service: Service, digits: tuple[str, str]
) -> None:
    job = service.certify(*digits, 2, **LONG)
    worker = service.start()
    service.halfway(job)
    assert service.child(RUNNER)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())  # the pool process and the runner die with it
    worker.wait()
    service.forget_messages()
    before = service.get(Certification, job).done

    service.start()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert before > 0


def test_kill_9_of_a_worker_that_went_on_after_known_votes_counts_none_twice(
    service: Service, digits: tuple[str, str]
) -> None:
    worker = service.start()
    done(service, service.certify(*digits, 2, kind="smoothing", sigma=0.25, n=2500))
    job = service.certify(*digits, 2, **LONG)
    reused = 2 * (100 + 2000)
    wait_for(lambda: service.get(Certification, job).done > reused)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())
    worker.wait()
    row = service.get(Certification, job)
    assert row.state == "running" and row.done < row.total
    service.start()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert [r.detail["reused"] for r in results(service, job)] == [2100, 2100]


def test_kill_9_of_a_runner_costs_an_attempt_and_no_count(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 2, **LONG)
    service.halfway(job)
    runner = service.child(RUNNER)
    assert runner is not None
    runner.kill()
    done(service, job)
    assert said(service, job) == truth(2, LONG["n"])
    assert max(shard.fence for shard in shards(service, job)) >= 2


def test_a_bound_that_several_runners_prove_is_reported_once(service: Service, digits: tuple[str, str]) -> None:
    worker = service.start()
    job = service.certify(*digits, 40, shard_inputs=1, kind="lipschitz")
    service.halfway(job)
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not service.family())
    worker.wait()
    [first] = reports(service, job)
    service.start()
    done(service, job)
    row = service.get(Certification, job)
    assert (row.state, row.done) == ("succeeded", 40), row.problem
    assert reports(service, job) == [first]

    bound = network_bound(EXAMPLES / "digits.onnx")
    assert nearly(timeless(first), timeless(json.loads(json.dumps(bound.to_json()))))
    for result in results(service, job):  # whichever runner proved it
        assert result.prediction is not None
        constant = bound.pairs(result.prediction)[result.detail["runner_up"]]
        assert result.detail["lipschitz"] == pytest.approx(constant, rel=1e-9)
        assert result.radius is None or result.radius <= result.detail["margin"] / result.detail["lipschitz"]
    assert row.summary["bound"] == {key: first[key] for key in ("upper", "norm", "rule", "vacuous")}


def kill_all(service: Service, module: str, table: type, row_id: str) -> None:
    """Kill whatever runs ``module`` until the row has ended."""

    def ended() -> bool:
        if child := service.child(module):
            child.send_signal(signal.SIGABRT)  # as native code that ends itself
        return service.get(table, row_id).state in TERMINAL

    wait_for(ended)


def test_what_kills_its_process_every_time_is_given_up(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 1, **LONG)
    kill_all(service, RUNNER, Certification, job)
    row = service.get(Certification, job)
    assert (row.state, row.problem["type"]) == ("failed", "/problems/worker-lost")
    [shard] = shards(service, job)
    assert shard.fence == service.settings.max_attempts
    assert "was killed by SIGABRT while " in row.problem["detail"] and " GiB" in row.problem["detail"]
    assert f"the last of {shard.fence} attempts in a row" in row.problem["detail"]
    where = {
        "shard": shard.id,
        "worker": shard.worker,
        "attempts": shard.fence,
        "log": f"{job}/{shard.id}/{shard.fence}",
    }
    assert row.problem.items() >= where.items()

    model = service.add_model((EXAMPLES / "digits-lipschitz.onnx").read_bytes())
    kill_all(service, READER, Model, model)
    problem = service.get(Model, model).problem
    assert problem["type"] == "/problems/worker-lost"
    assert "was killed by SIGABRT while reading the upload" in problem["detail"]
    assert problem["log"] == f"{model}/{service.settings.max_attempts}"


def test_cancelling_ends_the_runner_and_the_worker_goes_on(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    job = service.certify(*digits, 3, **LONG)
    service.halfway(job)
    runner = service.child(RUNNER)
    with service.database.write() as session:
        certification = certifications.get(session, job, lock=True)
        assert certification is not None
        certifications.cancel(session, certification)
    assert runner is not None
    wait_for(lambda: not runner.is_running() or runner.status() == psutil.STATUS_ZOMBIE)
    following = service.certify(*digits, 1, kind="smoothing", sigma=0.25, n=2500)
    done(service, following)
    assert said(service, following) == truth(3, 2500)[:1]
    assert service.get(Certification, job).state == "cancelled"
    assert {str(s.state) for s in shards(service, job)} <= {"cancelled", "succeeded"}


@pytest.mark.parametrize(
    ("sig", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["one process", "systemd", "Ctrl-C in a terminal"],
)
def test_a_shutdown_gives_the_shard_back_at_once(
    service: Service, digits: tuple[str, str], sig: signal.Signals, group: bool
) -> None:
    worker = service.start()
    job = service.certify(*digits, 2, **LONG)
    service.halfway(job)
    assert len(service.family()) >= 3
    (os.killpg if group else os.kill)(worker.pid, sig)
    worker.wait(timeout=20)
    left = [shard for shard in shards(service, job) if shard.state != "succeeded"]
    assert left
    assert all((shard.lease_expires_at, shard.attempts) == (None, 0) for shard in left)
    wait_for(lambda: not service.family())
