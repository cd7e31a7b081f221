"""Keeps a few processes alive, and ends them together. Knows nothing of what they are."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from radii.cli import watchdog

PAUSE = 0.05  # seconds between two looks at the children
FIRST_PAUSE = 0.25  # seconds before a restart; doubled each time
SETTLED = 10.0  # a process that lived this long had started well: its next end is a new story
QUICK_ENDS = 5  # so many ends in a row before that, and trying again is pointless
GRACE = 8.0  # seconds between SIGTERM and SIGKILL; a worker gives its shard back in one or two
LARGEST_LOG = 10_000_000  # bytes; a longer log of an earlier run is set aside when the next one starts

Say = Callable[[str], None]


class GaveUp(Exception):
    """A process ends again and again right after its start, or doesn't get ready."""


class Stopped(Exception):
    """``stopped`` became true while something was waited for."""


@dataclass
class Child:
    """A command to keep running, in a session (so: a process group) of its own, its output appended to ``log``."""

    name: str
    command: Sequence[str]
    log: Path
    last: bool = False  # to be ended after those that need it
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    quick_ends: int = 0


class Supervisor:
    """Starts children, restarts those that end, and ends them together. A context manager: on the way out nothing
    survives, and if this very process is killed the watchdog sees to it. ``keep_open`` stays open until then."""

    def __init__(
        self, environment: dict[str, str], *, say: Say, stopped: Callable[[], bool], keep_open: Sequence[int] = ()
    ) -> None:
        self.children: list[Child] = []
        self._environment = environment
        self._say = say
        self._stopped = stopped
        self._keep_open = keep_open
        self._watchdog = self._watched()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        os.close(self._pipe)
        self._watchdog.wait()

    def _watched(self) -> subprocess.Popen[bytes]:
        """A new watchdog, which finds in its pipe what runs already."""
        reading, self._pipe = os.pipe()
        for child in self.children:
            if child.process is not None:
                self._tell(f"+{child.process.pid}")
        process = subprocess.Popen(
            [sys.executable, "-I", watchdog.__file__],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            pass_fds=self._keep_open,
            start_new_session=True,
        )
        os.close(reading)
        return process

    def start(self, child: Child) -> None:
        """Start ``child`` and keep it running from now on."""
        if child.log.exists() and child.log.stat().st_size > LARGEST_LOG:
            child.log.replace(child.log.with_name(child.log.name + ".1"))
        self.children.append(child)
        self._spawn(child)

    def run(self, child: Child) -> int:
        """Run ``child`` once, to its end: its exit code. Raises ``Stopped``."""
        child.log.unlink(missing_ok=True)
        process = self._spawn(child)
        try:
            while process.poll() is None:
                self._pause()
        finally:
            self._bury(child, process)
        return process.returncode

    def wait_for(self, condition: Callable[[], bool], name: str, patience: float) -> None:
        """Tend the children until ``condition`` holds. Raises ``Stopped``, ``GaveUp`` (after ``patience`` seconds)."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise GaveUp(f"{name} was not ready after {patience:g} seconds; see the logs")
            self._pause()
            self.tend()

    def serve(self) -> NoReturn:
        """Tend the children for ever. Raises ``Stopped``, ``GaveUp``."""
        while True:
            self._pause()
            self.tend()

    def tend(self) -> None:
        """Restart, after a growing pause, what has ended. Raises ``GaveUp``."""
        now = time.monotonic()
        if self._watchdog.poll() is not None:  # somebody killed it
            os.close(self._pipe)
            self._watchdog = self._watched()
        for child in self.children:
            if child.process is None:
                if now >= child.restart_at:
                    self._spawn(child)
            elif child.process.poll() is not None:
                self._ended(child, child.process, now)

    def stop(self) -> None:
        """End everything: SIGTERM, time to finish, then SIGKILL to whatever is left of the process groups."""
        for last in (False, True):
            running = [(child, child.process) for child in self.children if child.process and child.last is last]
            for _, process in running:
                process.terminate()
            deadline = time.monotonic() + GRACE
            for child, process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                self._bury(child, process)
        self.children.clear()

    def _pause(self) -> None:
        time.sleep(PAUSE)
        if self._stopped():
            raise Stopped

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        child.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                # The child itself tells the watchdog, before it becomes what it is to be: there is no moment at which
                # it lives and nobody knows of it.
                preexec_fn=lambda: self._tell(f"+{os.getpid()}"),
            )
        child.started_at = time.monotonic()
        return child.process

    def _ended(self, child: Child, process: subprocess.Popen[bytes], now: float) -> None:
        self._bury(child, process)
        code = process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        child.quick_ends = child.quick_ends + 1 if now - child.started_at < SETTLED else 1
        if child.quick_ends >= QUICK_ENDS:
            raise GaveUp(f"{child.name} {how}, {QUICK_ENDS} times in a row.\n{tail(child.log)}\nThe log: {child.log}")
        pause = FIRST_PAUSE * 2 ** (child.quick_ends - 1)
        child.restart_at = now + pause
        self._say(f"{child.name} {how}; starting it again in {pause:g} s (log: {child.log})")

    def _bury(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._tell(f"-{process.pid}")
        child.process = None

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # without a watchdog, which ``tend`` sees
            os.write(self._pipe, f"{line}\n".encode())


def tail(log: Path, lines: int = 15) -> str:
    """The last ``lines`` of a log."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
