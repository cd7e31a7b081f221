"""What is forked for a file is as alone as a process of its own would be."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.settings import Settings
from tests import factories
from tests.workers.harness import EXAMPLES, ROOT, wait_for
from workers.environment import bare_environment
from workers.intake import process
from workers.intake.limits import OPEN_FILES
from workers.intake.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is asked")

DIGITS = {"settings": {"input": factories.INPUT, "output": None, "labels": None}, "external_data": {}}


def model(file: Path) -> dict[str, Any]:
    return {"noun": "model", "file": str(file), **DIGITS}


@pytest.fixture
def waiting(tmp_path: Path) -> Sandbox:
    """One that waits for a file that nobody writes, for ever."""
    os.mkfifo(tmp_path / "fifo")
    return begun(tmp_path / "waiting", tmp_path / "fifo")


def begun(folder: Path, file: Path) -> Sandbox:
    folder.mkdir()
    return Sandbox(folder, model(file), Settings())


def reading(sandbox: Sandbox) -> psutil.Process:
    """Its process, once that has begun to read, which it does confined."""
    forked = psutil.Process(sandbox.process.pid)
    wait_for(lambda: forked.rlimit(psutil.RLIMIT_CPU)[0] == sandbox.limits["cpu_seconds"])
    return forked


def test_it_is_alone(waiting: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = reading(waiting)
    try:
        server = psutil.Process(process.server(waiting.limits).process.pid)
        assert forked.ppid() == server.pid
        assert os.getpgid(forked.pid) == forked.pid != os.getpgid(server.pid) == server.pid
        assert os.getsid(forked.pid) == server.pid != os.getsid(0)
        assert forked.cwd() == str(waiting.folder)
        assert forked.environ() == server.environ()
        assert {
            key: value for key, value in server.environ().items() if key in bare_environment()
        } == bare_environment()
        assert not [key for key in server.environ() if "RADII" in key]
        for limit, name in (("RLIMIT_AS", "memory_bytes"), ("RLIMIT_FSIZE", "file_bytes")):
            for confined in (forked, server):  # it could not be raised again by either
                assert set(confined.rlimit(getattr(psutil, limit))) == {waiting.limits[name]}
        assert forked.rlimit(psutil.RLIMIT_NOFILE) == (OPEN_FILES, OPEN_FILES)
        assert forked.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert server.num_threads() == 1
        links = {Path(f"/proc/{forked.pid}/fd/{number}").readlink() for number in (0, 1, 2)}
        assert links == {waiting.folder / "order.json", waiting.folder / "log"}
        assert forked.num_fds() == 3  # the pipes of the server are closed; the file waits to be opened
    finally:
        waiting.kill()
    assert waiting.process.returncode == -signal.SIGKILL


def test_the_next_file_has_another_process_of_the_same_server(waiting: Sandbox, tmp_path: Path) -> None:
    first, server = reading(waiting), process.server(waiting.limits)
    waiting.kill()
    assert not first.is_running()
    for number in range(2):
        sandbox = begun(tmp_path / str(number), EXAMPLES / "digits.onnx")
        sandbox.inbox.get(timeout=60)
        assert sandbox.answer(late=False)["summary"]["num_classes"] == 10
        assert sandbox.process.pid != first.pid
    assert process.server(waiting.limits) is server


def test_after_a_crash_addresses_are_others(waiting: Sandbox, tmp_path: Path) -> None:
    forked, server = reading(waiting), process.server(waiting.limits)
    forked.send_signal(signal.SIGSEGV)
    waiting.inbox.get(timeout=60)
    assert waiting.process.returncode == -signal.SIGSEGV
    assert server.process.wait(60) == 0
    sandbox = begun(tmp_path / "next", EXAMPLES / "digits.onnx")
    sandbox.inbox.get(timeout=60)
    assert sandbox.answer(late=False)["summary"]["num_classes"] == 10
    assert process.server(waiting.limits) is not server


def test_it_ends_with_its_server_and_that_with_its_worker(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "s").mkdir()
    code = """
import json, sys, time
from pathlib import Path
from models.settings import Settings
from workers.intake.sandbox import Sandbox
sandbox = Sandbox(Path("s").absolute(), json.load(sys.stdin), Settings(data_dir=Path.cwd()))
print(sandbox.process.pid, sandbox.process._server.process.pid, flush=True)
time.sleep(1000)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as worker:  # type: ignore[call-overload]
        worker.stdin.write(json.dumps(model(tmp_path / "fifo")))
        worker.stdin.close()
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        assert all(map(psutil.pid_exists, pids))
        worker.kill()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
