"""The supervisor, tending processes that do nothing else than what is asked of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from radii.cli import processes as module
from radii.cli.processes import Child, GaveUp, Stopped, Supervisor
from tests.service import command_line

WAIT = 20.0  # seconds; far above what a condition takes, so that a busy machine is no failure


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stopped() -> threading.Event:
    return threading.Event()


@pytest.fixture
def supervisor(said: list[str], stopped: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    with Supervisor(dict(os.environ), say=said.append, stopped=stopped.is_set) as supervisor:
        yield supervisor


def shell(script: str, log: Path, *, name: str = "it", last: bool = False) -> Child:
    return Child(name, ["sh", "-c", script], log, last=last)


def pid(child: Child) -> int:
    assert child.process
    return child.process.pid


def in_group(group: int) -> list[int]:
    """Live processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def wait_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    supervisor.wait_for(condition, "the condition", WAIT)


def test_what_dies_comes_back_and_leaves_none_of_its_group(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    child = shell("sleep 1000 & sleep 1000", tmp_path / "log")
    supervisor.start(child)
    first = pid(child)
    wait_until(supervisor, lambda: len(in_group(first)) == 3)
    os.kill(first, signal.SIGKILL)
    wait_until(supervisor, lambda: child.process is not None and child.process.pid != first)
    wait_until(supervisor, lambda: in_group(first) == [])
    assert said == [f"it was killed by SIGKILL; starting it again in 0.001 s (log: {tmp_path / 'log'})"]


def test_what_never_starts_is_given_up_with_its_last_words(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(shell("echo no such table; exit 3", tmp_path / "log"))
    with pytest.raises(GaveUp, match=r"it ended with exit code 3, 5 times in a row(.|\n)*no such table(.|\n)*log"):
        supervisor.serve()


def test_what_does_not_get_ready_is_given_up(supervisor: Supervisor) -> None:
    with pytest.raises(GaveUp, match=r"the thing was not ready after 0\.01 seconds"):
        supervisor.wait_for(lambda: False, "the thing", 0.01)


def test_stop_ends_waiting_and_those_that_others_need_end_last(
    supervisor: Supervisor, stopped: threading.Event, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    script = f"trap 'echo $0 >> {order}; exit' TERM; echo up; while :; do sleep 0.01; done"
    for name, last in (("broker", True), ("one", False), ("two", False)):
        supervisor.start(Child(name, ["sh", "-c", script, name], tmp_path / name, last=last))
    wait_until(supervisor, lambda: all((tmp_path / name).read_text() == "up\n" for name in ("broker", "one", "two")))
    stopped.set()
    with pytest.raises(Stopped):
        supervisor.serve()
    supervisor.stop()
    assert sorted(order.read_text().split()[:2]) == ["one", "two"]
    assert order.read_text().split()[2:] == ["broker"]


def test_what_ignores_sigterm_is_killed_after_its_time(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)
    child = shell("trap '' TERM; echo up; sleep 1000 & wait; sleep 1000", tmp_path / "log")
    supervisor.start(child)
    group = pid(child)
    wait_until(supervisor, lambda: (tmp_path / "log").read_text() == "up\n")
    supervisor.stop()
    wait_until(supervisor, lambda: in_group(group) == [])


def test_a_command_run_once_gives_its_exit_code_and_a_fresh_log(supervisor: Supervisor, tmp_path: Path) -> None:
    child = shell("echo once; exit 7", tmp_path / "log")
    assert [supervisor.run(child), supervisor.run(child)] == [7, 7]
    assert child.log.read_text() == "once\n"


def test_a_long_log_of_an_earlier_run_is_set_aside(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_LOG", 3)
    (tmp_path / "log").write_text("long\n")
    supervisor.start(shell("echo new; sleep 1000", tmp_path / "log"))
    wait_until(supervisor, lambda: (tmp_path / "log").read_text() == "new\n")
    assert (tmp_path / "log.1").read_text() == "long\n"


@pytest.mark.parametrize("watchdog_too", [False, True])
def test_when_the_supervisor_is_killed_its_children_are(tmp_path: Path, watchdog_too: bool) -> None:
    program = """
import os, sys
from pathlib import Path
from radii.cli.processes import Child, Supervisor
supervisor = Supervisor(dict(os.environ), say=print, stopped=lambda: False)
for name in "ab":
    supervisor.start(Child(name, ["sh", "-c", "trap '' TERM HUP; sleep 1000 & wait"], Path(sys.argv[1]) / name))
print("up", flush=True)
supervisor.serve()
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"

    def watchdogs() -> list[psutil.Process]:
        found = psutil.Process(process.pid).children()
        return [child for child in found if "watchdog.py" in command_line(child)]

    if watchdog_too:
        (first,) = watchdogs()
        first.kill()
        deadline = time.monotonic() + WAIT
        while not (there := watchdogs()) or there == [first]:
            assert time.monotonic() < deadline
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3  # the watchdog and two children, each perhaps with its sleep
    process.kill()
    process.communicate()
    assert psutil.wait_procs(family, timeout=WAIT)[1] == []
