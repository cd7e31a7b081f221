"""What became of an attempt that did not succeed, as the problem that its user reads."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models.problems import Problem
from models.storage import StorageFull
from models.types import Json
from workers.intake.limits import met

if TYPE_CHECKING:  # the runner imports this, and no database
    from models.bell import Bell

GIB = 2**30
MOST_TEXT = 300  # characters of an error's message: some hold a compiler's whole output
FULL = {errno.ENOSPC, errno.EDQUOT}
CGROUP = Path("/sys/fs/cgroup/memory.max")  # a container's limit


class Failed(Exception):
    """The work can't be done; the document says why."""

    def __init__(self, document: Json) -> None:
        super().__init__(document["detail"])
        self.document = document


class Lost(Failed):
    """The process that did the work is gone, as the document says; another attempt may do it."""

    def __init__(self, document: Json, phase: str) -> None:
        super().__init__(document)
        self.phase = phase


class Blamed(Lost):
    """Lost amid its inputs, which the row knows already; ``then`` is what is next."""

    def __init__(self, lost: Lost, then: Bell) -> None:
        super().__init__(lost.document, lost.phase)
        self.then = then


class ForOthers(Exception):
    """The row asks for what this worker's version of radii does not know: a later one's may do it."""


class End(NamedTuple):
    """How a process ended; None: it can't be ended, or nobody measured."""

    status: int | None
    peak_bytes: int | None = None  # of its resident memory


def problem_of(error: Exception) -> Json:
    """The problem of an error in a worker that nobody foresaw where it was raised."""
    if isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in FULL):
        return Problem.STORAGE_FULL.document(f"A worker could not write: {first_line(error)}.")
    if met(error) == "memory_bytes":
        return Problem.OUT_OF_MEMORY.document(f"The worker's memory ran out: {first_line(error)}.")
    return Problem.INTERNAL_ERROR.document(f"A worker met an error that it does not know: {first_line(error)}.")


def first_line(error: BaseException) -> str:
    """An error in a sentence."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:MOST_TEXT].rstrip(". ")


def lost(end: End, phase: str, said: str | None = None) -> Lost:
    """A process that ended before its work was done; ``said``: its last words."""
    how, remedy = _how(end.status, said)
    return Lost(Problem.WORKER_LOST.document(f"It {how} while {phase}{_memory(end)}.", **remedy), phase)


def stalled(end: End, phase: str, seconds: float) -> Lost:
    """A process that was ended because it made no progress for that long."""
    detail = f"It made no progress for {seconds:.0f} s while {phase}, and was ended{_memory(end)}."
    if end.status is None:
        detail += " It did not even end: the kernel waits for a device or a disk in its place."
    return Lost(Problem.STALLED.document(detail), phase)


def given_up(cause: Json, attempts: int) -> Json:
    """The problem of what was lost so often in a row; ``cause``: of the last time."""
    return cause | {"detail": f"{cause['detail']} So ended the last of {attempts} attempts in a row without progress."}


def _how(status: int | None, said: str | None) -> tuple[str, dict[str, str]]:
    if said is not None:
        return f"ended with {said}", {}
    if status is None or status >= 0:
        return f"ended with exit status {status}", {}
    name = str(status)
    with suppress(ValueError):
        name = signal.Signals(-status).name
    if status == -signal.SIGKILL:
        remedy = (
            "radii did not send that signal: a person did, or the kernel, which ends what takes too much memory (its "
            "log says so: journalctl -k, dmesg). Where the memory that `detail` tells of is near what there is, use a "
            "smaller batch size (RADII_BATCH_SIZE) or a larger worker."
        )
    else:
        remedy = (
            "Native code failed, or a person sent that signal. Start it again; should it recur, set RADII_DEVICE=cpu "
            "where it ran on a GPU, and report it with the model."
        )
    return f"was killed by {name}", {"remedy": remedy}


def _memory(end: End) -> str:
    if end.peak_bytes is None:
        return ""
    return f" (memory at most {end.peak_bytes / GIB:.2f} GiB; there are {memory_there() / GIB:.2f} GiB)"


def memory_there() -> int:
    """Bytes that the machine has, or its container may use."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        there = min(there, int(CGROUP.read_text()))
    return there


def ended(process_id: int) -> End | None:
    """How a child of this process ended, which the kernel forgets with that; None where it has not ended yet."""
    pid, status, usage = os.wait4(process_id, os.WNOHANG)
    if pid == 0:
        return None
    return End(os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
