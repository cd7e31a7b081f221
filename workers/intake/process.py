"""The fork server of this worker, and what it forks, as the worker sees them."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from workers.environment import bare_environment
from workers.runner.process import Ended
from workers.worker import Inbox

END_SECONDS = 10.0  # that the kernel has for ending a process


class Server:
    """A ``python -m workers.intake.fork_server`` under those limits."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.intake.fork_server", json.dumps(limits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env=bare_environment(),
            start_new_session=True,
        )

    def close(self) -> None:
        """End it, and what it has forked."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


_server: Server | None = None


def server(limits: dict[str, int]) -> Server:
    """This process's. Its imports take seconds: asked for ahead of need it is ready when the first file comes."""
    global _server
    if _server is not None and (_server.limits != limits or _server.process.poll() is not None):
        _server.close()
        _server = None
    if _server is None:
        _server = Server(limits)
    return _server


class Fork:
    """A process that reads the upload of which ``folder`` has the order."""

    def __init__(self, folder: Path, limits: dict[str, int]) -> None:
        self._server = server(limits)
        self._known = threading.Event()
        self._pid: int | None = None
        self.returncode: int | Any = None
        """How it ended; where there never was one, how the server did."""
        self.inbox: Inbox = SimpleQueue()
        assert self._server.process.stdin is not None
        with suppress(BrokenPipeError):  # then it has ended, as will be heard
            self._server.process.stdin.write(f"{json.dumps(str(folder))}\n".encode())
            self._server.process.stdin.flush()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its number, once it has one. Raises ``ProcessLookupError`` where its server has ended before."""
        self._known.wait()
        if self._pid is None:
            raise ProcessLookupError("its server has ended")
        return self._pid

    def _listen(self) -> None:
        process = self._server.process
        assert process.stdout is not None
        if line := process.stdout.readline():
            self._pid = json.loads(line)["pid"]
        self._known.set()
        line = process.stdout.readline()
        self.returncode = json.loads(line)["status"] if line else process.wait()
        self.inbox.put(Ended)

    def kill(self) -> None:
        """End it, and whatever it started."""
        if self._known.is_set() and self._pid is not None:
            if self.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._pid, signal.SIGKILL)
            self._listener.join(END_SECONDS)
        if self.returncode is None:
            self._server.process.kill()
        self._listener.join()
