"""A real worker says that it is there, what it does and how fast; and that it has gone."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from models.database import Database
from models.repositories import presence
from models.repositories.leases import Claim
from models.tables import Certification, Presence
from tests.workers.harness import ROOT, Service, wait_for
from workers.messages import Alive
from workers.presence import Activity
from workers.presence import Presence as Beats

CLAIM = Claim("shard", "shd_1", 3, 1, "cert_1")


def there(service: Service) -> list[Presence]:
    with service.database.read() as session:
        return list(presence.alive(session))


def test_a_worker_is_seen_from_its_start_to_its_end(service: Service, digits: tuple[str, str]) -> None:
    worker = service.start()
    (idle,) = wait_for(lambda: there(service))
    assert idle.host == platform.node() and idle.name.startswith(f"{idle.host}/")
    assert (idle.queues, idle.work, idle.device) == ("certify intake", None, None)
    long = service.certify(*digits, 100, kind="smoothing", sigma=0.25, n=100_000)

    def working() -> Presence | None:
        return next((one for one in there(service) if one.work and one.work["doing"] and one.device), None)

    seen = wait_for(working)
    assert seen.name == idle.name and seen.work["job"] == long and seen.work["noun"] == "shard"
    assert seen.device == "cpu" and 10**7 < seen.memory < seen.memory_total
    paced = wait_for(lambda: next((one for one in there(service) if one.samples_per_second), None))
    counted = paced.figures["radii_counted"]["samples"]
    assert [labels for _, labels, _ in counted] == [{"method": "smoothing"}] and counted[0][2] > 0
    assert alive(service).returncode == 0
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    assert there(service) == []  # at once: it said so


def test_one_that_is_killed_vanishes_when_its_last_beat_has_lapsed(service: Service) -> None:
    service.start()
    (one,) = wait_for(lambda: there(service))
    for process in service.family():
        process.kill()
    assert [left.name for left in there(service)] == [one.name]
    wait_for(lambda: not there(service))


def test_an_ended_shard_is_counted(service: Service, digits: tuple[str, str]) -> None:
    service.start()
    short = service.certify(*digits, 2, kind="lipschitz")
    service.wait(Certification, short, "succeeded")

    def ended() -> Any:
        figures = [one.figures for one in there(service)]
        found = [s for f in figures for s in f["radii_shard_seconds"]["samples"] if s[0] == "radii_shard_seconds_count"]
        return found and found[0]

    _, labels, value = wait_for(ended)
    assert (labels, value) == ({"method": "lipschitz"}, 1)


def alive(service: Service) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "workers.alive"], cwd=ROOT, capture_output=True, text=True)


def test_liveness_looks_at_files_alone(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "workers.alive"]

    def status() -> int:
        return subprocess.run(command, env=environment, capture_output=True).returncode

    assert status() == 1
    folder = tmp_path / f"radii-alive-{os.getuid()}"
    folder.mkdir()
    (folder / "1").touch()
    (folder / "2").touch()
    os.utime(folder / "2", (time.time() - 100,) * 2)
    assert status() == 0
    assert [file.name for file in folder.iterdir()] == ["1"]
    os.utime(folder / "1", (time.time() - 100,) * 2)
    assert status() == 1
    program = "import sys, workers.alive; print(sorted({'sqlalchemy', 'celery', 'pydantic'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert loaded.stdout == "[]\n"


def test_the_pace_is_of_the_time_that_was_worked(database: Database) -> None:
    activity = Activity()
    beats = Beats("one/1", activity, database, ["certify"], lease_seconds=15)

    def pace() -> float | None:
        with database.write() as session:
            beats.beat(session)
        with database.read() as session:
            return session.get_one(Presence, "one/1").samples_per_second

    assert pace() is None
    activity.begin(CLAIM)
    activity.method("smoothing")
    activity.device = Alive("cpu", 5, 9)
    assert activity.working is not None
    activity.working.begun -= 10  # it took ten seconds
    activity.count(1000)
    assert 90 < (pace() or 0) <= 100
    activity.end("done")
    assert 90 < (pace() or 0) <= 100  # idle, it is what it was
    activity.begin(CLAIM)
    assert activity.working is not None
    activity.working.begun -= 1
    activity.count(1000)
    assert 900 < (pace() or 0) <= 1000


def test_without_a_database_there_is_no_beat_and_no_harm(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.sqlite'}")  # without tables
    beats = Beats("one/1", Activity(), database, ["certify"], lease_seconds=15)
    beats.start()
    beats.leave()
    assert not beats.is_alive()
    database.close()
