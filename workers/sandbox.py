"""Runs ``workers.read_upload`` on a stranger's bytes: a process without credentials, with limits, in an empty folder.

It gets paths, never the database, the broker or the noise secret. It confines itself before it opens the first file,
and no limit can be raised again. What it leaves behind is read as data of bounded size.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from models.base import Json
from models.problems import Problem
from models.settings import Settings
from workers.child import Ended
from workers.desk import Inbox
from workers.environment import bare_environment

log = logging.getLogger(__name__)

ANSWER_BYTES = 2**26
LOG_BYTES = 4000
IMPORT_SECONDS = 60  # on a busy machine


class Sandbox:
    """A running ``python -m workers.read_upload`` in ``folder``, which must be empty."""

    def __init__(self, folder: Path, order: Json, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        limits = {
            "cpu_seconds": settings.intake_seconds,
            "memory_bytes": settings.intake_memory_bytes,
            "file_bytes": 2 * settings.max_dataset_bytes + 2**20,  # float64 in Fortran order is unpacked as it is
        }
        self._order, self._log = folder / "order.json", folder / "log"
        self._order.write_text(json.dumps({**order, "limits": limits}))
        with self._order.open() as stdin, self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers.read_upload"],
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=bare_environment(),
                start_new_session=True,
            )
        # Waiting for the disk takes no CPU time: twice as long by the clock is still honest work.
        self.deadline = time.monotonic() + 2 * settings.intake_seconds + IMPORT_SECONDS
        self.inbox: Inbox = SimpleQueue()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        self.process.wait()
        self.inbox.put(Ended)

    def kill(self) -> None:
        """End it, and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def answer(self, *, late: bool) -> Json | None:
        """What it found, ``{"summary": ...}`` or ``{"problem": ...}``; None if it crashed. ``late``: it was killed at
        its deadline."""
        status = self.process.returncode
        if status == 0:
            with (self.folder / "answer.json").open("rb") as file:
                answer: Json = json.loads(file.read(ANSWER_BYTES))
            return answer
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - LOG_BYTES))
            said = file.read().decode(errors="replace")
        log.warning("intake ended with status %s: %s", status, said)
        settings = self.settings
        if late or status == -signal.SIGXCPU:
            return limit(f"It took longer than {settings.intake_seconds} s of CPU time, or twice that by the clock.")
        # SIGKILL is the kernel's, short of memory; C++ aborts when it gets none.
        if status == -signal.SIGKILL or "bad_alloc" in said:
            return limit(f"It needed more than {settings.intake_memory_bytes} bytes of memory, or than there is.")
        return None


def limit(detail: str) -> Json:
    """The answer when a limit was hit."""
    return {"problem": Problem.INTAKE_LIMIT.document(detail)}
