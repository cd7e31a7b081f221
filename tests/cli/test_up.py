"""`radii up`: what it starts, tends and ends."""

import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from radii.client import Client, ProblemError
from tests.cli.conftest import DIGITS
from tests.service import PATIENCE, Service, clean_environment, command_line, left, running, start, stop, until

SHORT_LEASE = ("--lease-seconds", "4")  # work of a killed worker is taken up by the next one after that
PARTS = ("redis-server", "app.main:create_app", "--queues intake", "--queues certify", "workers.runner", "watchdog.py")


def up(*flags: str) -> subprocess.CompletedProcess[str]:
    """A `radii up` that is expected to end by itself."""
    command = [sys.executable, "-m", "radii.cli", "up", *flags]
    environment = {**clean_environment(), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def busy(client: Client) -> dict[str, Any]:
    """A certification that takes minutes and has begun."""
    model = client.wait(client.create_model(DIGITS / "digits.onnx", shape=[1, 8, 8]))
    dataset = client.wait(client.create_dataset(DIGITS / "digits.npz"))
    job = client.create_certification(model["id"], dataset["id"], {"kind": "smoothing", "sigma": 0.25, "n": 10**6})
    return until(lambda: client.get(job["id"]), lambda job: job["progress"]["done"] > 0)


def part(service: Service, name: str) -> psutil.Process | None:
    """The process whose command line says ``name``, nearest to the top."""
    return next((process for process in service.family() if name in command_line(process)), None)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose parts may be killed."""
    with running(tmp_path_factory.mktemp("up") / "data", *SHORT_LEASE) as service:
        yield service


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    service = start(tmp_path / "data")
    family = service.family()
    assert stop(service, signal.SIGINT) == 0
    assert left(family) == []


def test_sigterm_in_the_midst_of_work_ends_all_of_it(tmp_path: Path) -> None:
    service = start(tmp_path / "data")
    with service.client() as client:
        busy(client)
    assert [name for name in PARTS if part(service, name) is None] == []
    family = service.family()
    assert stop(service, signal.SIGTERM) == 0
    assert left(family) == []


def test_killed_in_the_midst_of_work_it_leaves_nothing_and_later_goes_on(tmp_path: Path) -> None:
    service = start(tmp_path / "data", *SHORT_LEASE)
    with service.client() as client:
        before = busy(client)
    family = service.family()
    assert len(family) > len(PARTS)
    assert stop(service, signal.SIGKILL) == -signal.SIGKILL
    assert left(family) == []
    with running(tmp_path / "data", *SHORT_LEASE) as service, service.client() as client:
        done = before["progress"]["done"]
        assert client.get(before["id"])["progress"]["done"] >= done
        until(lambda: client.get(before["id"])["progress"]["done"], lambda now: now > done)


def test_what_is_secret_is_private(own: Service) -> None:
    for name in ("api-key", "noise-secret", "redis.sock"):
        assert stat.S_IMODE((own.data_dir / name).stat().st_mode) == 0o600
    for name in ("", "logs"):
        assert stat.S_IMODE((own.data_dir / name).stat().st_mode) == 0o700
    readable = [path for path in own.data_dir.rglob("*") if path.lstat().st_mode & 0o077]
    assert readable == []


def test_a_data_folder_that_others_may_look_into_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running(folder):
        pass
    folder.chmod(0o755)
    done = up("--port", "0", "--data-dir", str(folder))
    assert done.returncode == 1
    assert f"chmod 700 {folder}" in done.stderr
    folder.chmod(0o700)
    with running(folder):
        pass


def test_a_key_file_that_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        lost = service.key
        (tmp_path / "data" / "api-key").unlink()
    service = start(tmp_path / "data")
    try:
        with Client(service.url, lost) as client:
            assert [key["current"] for key in client.list("keys")] == [False, True]  # still valid
        environment = service.environment()

        def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "radii.cli", "keys", *arguments]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)

        made = keys("create", "pipeline").stdout.strip()
        with Client(service.url, made) as client:
            named = {key["name"]: key["id"] for key in client.list("keys")}
            assert keys("revoke", named["first"]).returncode == 0
            listed = keys("list").stdout
            assert re.search(rf"{named['first']} +first .* revoked", listed)
            assert re.search(rf"{named['next']} +next .* valid, this one", listed)
            assert len(list(client.list("keys"))) == 3
        with Client(service.url, lost) as client, pytest.raises(ProblemError) as refused:
            list(client.list("keys"))
        assert refused.value.slug == "unauthenticated"
        last = keys("revoke", named["pipeline"])
        assert last.returncode == 0
        last = keys("revoke", named["next"])
        assert last.returncode == 1
        assert "This is the last valid API key" in last.stderr and "radii keys create NAME" in last.stderr
    finally:
        service.process.send_signal(signal.SIGTERM)
        _, said = service.process.communicate()
    assert f"radii: {service.data_dir / 'api-key'} was not there: a new key was made ({named['next']})" in said
    assert f"radii keys revoke {named['first']}" in said


def test_a_second_one_on_the_same_folder_is_refused(own: Service) -> None:
    done = up("--port", "0", "--data-dir", str(own.data_dir))
    assert done.returncode == 1
    assert f"radii is already up on {own.data_dir} (process {own.process.pid}, {own.url})" in done.stderr


def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = up("--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken by another program" in done.stderr
    assert not (tmp_path / "data" / "logs").exists()


def test_an_address_of_another_machine_is_said(tmp_path: Path) -> None:
    done = up("--host", "192.0.2.1", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "can't listen on 192.0.2.1" in done.stderr


def test_why_the_service_cannot_start_is_said(tmp_path: Path) -> None:
    with running(tmp_path / "data"):
        pass
    done = up("--port", "0", "--data-dir", str(tmp_path / "data"), "--noise-secret", "ab" * 32)
    assert done.returncode == 1
    assert "The noise secret is not the one" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_api_that_is_killed_comes_back(own: Service) -> None:
    with own.client() as client:
        client.ready()
        killed = part(own, "app.main:create_app")
        assert killed
        killed.kill()
        killed.wait()
        list(client.list("models"))  # as patient as `ready` is not
        assert client.ready()["status"] == "ok"
    assert part(own, "app.main:create_app") != killed


def test_a_worker_that_is_killed_comes_back_and_takes_up_its_work(own: Service) -> None:
    with own.client() as client:
        job = busy(client)
        killed = part(own, "--queues certify")
        assert killed
        group = [killed, *killed.children(recursive=True)]
        killed.kill()
        assert left(group) == []
        done = client.get(job["id"])["progress"]["done"]
        until(lambda: client.get(job["id"])["progress"]["done"], lambda now: now > done)
        client.cancel(job["id"])
    assert part(own, "--queues certify") != killed


def test_a_signal_at_any_moment_is_heard() -> None:
    """A handler that took a lock would wait for ever where it interrupts the one who holds it."""
    program = """
from radii.cli import processes as supervisor, up

class Loop(supervisor.Supervisor):
    def __init__(self): self._stopped = up.stop_signals()

loop, supervisor.PAUSE, heard = Loop(), 0, 0
print("up", flush=True)
for _ in range(20_000):
    try: loop._pause()
    except supervisor.Stopped: heard += 1
print(heard)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
        process.kill()
        assert int(process.stdout.readline() or 0) > 0
