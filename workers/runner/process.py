"""A warm runner as its supervisor sees it: a process, an inbox of what it says, and a way to end it."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from queue import SimpleQueue

from workers.causes import End, ended
from workers.environment import ALLOCATOR, ARITHMETIC, DEVICE_PREFIXES, bare_environment, compiler
from workers.messages import Enough, Order, Settled, decoded, encoded
from workers.worker import Inbox

log = logging.getLogger(__name__)


END_SECONDS = 10.0  # that the kernel has for ending a process, and for giving its memory back


class Ended:
    """In the inbox: the process is gone, or has closed its mouth for good."""


class Runner:
    """A ``python -m workers.runner``. It may be told the noise secret, so that travels by its stdin alone."""

    def __init__(self) -> None:
        keys = {key for key in os.environ if key.startswith(DEVICE_PREFIXES)} - ARITHMETIC
        devices = {key: os.environ[key] for key in keys}
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**bare_environment(), **path, **ALLOCATOR, **compiler(), **devices},
            start_new_session=True,  # Ctrl-C in a terminal is for the Celery process, which will let us know
        )
        self.inbox: Inbox = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # it died in the middle of a word
                try:
                    self.inbox.put(decoded(line))
                except ValueError:
                    log.error("its runner does not make sense: %r", line[:100])
                    break
        self.inbox.put(Ended)

    def send(self, message: Order | Enough | Settled) -> None:
        """Tell it that. If it is gone already, ``Ended`` will say so."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(encoded(message).encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def gone(self) -> bool:
        """Whether it has ended, of its own will or not."""
        return self.process.poll() is not None

    def kill(self) -> End:
        """End it now, if it has not ended; how it ended. One that the kernel does not let go is left behind."""
        if self.process.returncode is not None:
            return End(self.process.returncode)
        os.kill(self.process.pid, signal.SIGKILL)  # not by Popen, which may forget how it ended
        deadline = time.monotonic() + END_SECONDS
        while (end := ended(self.process.pid)) is None:
            if time.monotonic() > deadline:
                return End(None)
            time.sleep(0.01)
        self.process.returncode = end.status  # nobody else may wait for it any more
        return end
