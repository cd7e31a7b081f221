"""Has ``read_upload`` read a stranger's bytes: a process without credentials, with limits, in an empty folder.

It is forked for the file by a parent that is confined already and has seen none (``workers.intake.fork_server``). It
gets paths, never the database, the broker or the noise secret. It confines itself before it opens the first file, and
no limit can be raised again; where the worker itself runs under a lower one, that one holds. What it leaves behind is
read as data of bounded size.
"""

import json
import logging
import os
import signal
import time
from pathlib import Path

from models.problems import Problem
from models.settings import Settings
from models.storage import StorageFull
from models.types import Json
from workers.causes import End, lost
from workers.confine import inherited
from workers.intake.limits import exceeded, limits_of
from workers.intake.process import Fork

log = logging.getLogger(__name__)

ANSWER_BYTES = 2**26
LOG_BYTES = 4000
IMPORT_SECONDS = 60  # on a busy machine


class Sandbox:
    """A running ``workers.intake.read_upload`` in ``folder``, which must be empty."""

    def __init__(self, folder: Path, order: Json, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.limits = limits_of(settings)
        self.inherited = inherited(self.limits)
        if self.inherited:
            log.warning("intake runs under limits that this worker was started with: %s", self.inherited)
        self._log = folder / "log"
        self._log.touch()
        (folder / "order.json").write_text(json.dumps({**order, "limits": self.limits}))
        self.process = Fork(folder, self.limits)
        self.inbox = self.process.inbox
        # Waiting for the disk takes no CPU time: twice as long by the clock is still honest work.
        self.deadline = time.monotonic() + 2 * settings.intake_seconds + IMPORT_SECONDS

    def kill(self) -> None:
        """End it, and whatever it started."""
        self.process.kill()

    def answer(self, *, late: bool) -> Json:
        """What it found, ``{"summary": ...}`` or ``{"problem": ...}``. ``late``: it was killed at its deadline. Raises
        ``StorageFull``, and ``Lost`` if it crashed."""
        status = self.process.returncode
        if status == 0:
            with (self.folder / "answer.json").open("rb") as file:
                answer: Json = json.loads(file.read(ANSWER_BYTES))
            return answer
        if status == os.EX_TEMPFAIL:
            raise StorageFull("what is in the file does not fit on the disk")
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - LOG_BYTES))
            said = file.read().decode(errors="replace")
        log.warning("intake ended with status %s: %s", status, said)
        if late:
            seconds = self.settings.intake_seconds
            detail = f"It took longer than {seconds} s of CPU time, or twice that by the clock."
            return {"problem": Problem.INTAKE_LIMIT.document(detail)}
        if status == -signal.SIGXCPU:
            return self._exceeded("cpu_seconds")
        # SIGKILL is the kernel's, short of memory; C++ aborts when it gets none. Where the worker itself was started
        # with little address space, the dynamic linker and OpenBLAS have ways of their own to end.
        if status == -signal.SIGKILL and "memory_bytes" not in self.inherited:
            most = self.limits["memory_bytes"]
            detail = f"It needed more than {most} bytes of memory, or than there is."
            return {"problem": Problem.INTAKE_LIMIT.document(detail)}
        if "bad_alloc" in said or "memory_bytes" in self.inherited:
            return self._exceeded("memory_bytes")
        raise lost(End(status), "reading the upload")

    def _exceeded(self, name: str) -> Json:
        return {"problem": exceeded(name, self.limits, self.inherited)}
