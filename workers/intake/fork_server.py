"""A confined parent that has imported what reads uploads, and forks for each: ``python -m workers.intake.fork_server``.

Importing takes seconds, reading a small file a moment. This process never computes, opens no upload and starts no
thread, so what it forks is as a process that has just imported. Names of folders come on stdin, a line each and one at
a time; for each two lines of JSON leave on what was stdout: ``{"pid": ...}``, then ``{"status": ...}`` once the fork
has ended. A fork is in a process group of its own, which ends with it. Where one was killed by a signal that is not the
worker's or a limit's, the server ends too: forks have the addresses of their parent in common, and nobody shall try on
what was learnt from a crash.
"""

import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn

from models.types import Json
from workers.confine import confine, die_with_parent, inherited
from workers.intake.read_upload import read_order

# SIGKILL is the worker's, or the kernel's short of memory; SIGXCPU is of the limit of CPU time.
EXPECTED = {signal.SIGKILL, signal.SIGXCPU}


def main() -> None:
    die_with_parent()
    limits: dict[str, int] = json.loads(sys.argv[1])
    lower = inherited(limits)
    # CPU time is of each fork, whose clock starts at 0: here a limit holds that the worker was started with, alone.
    confine(**{name: limit for name, limit in limits.items() if name != "cpu_seconds" or name in lower})
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    import workers.intake.read_dataset
    import workers.intake.read_model  # noqa: F401 (so that forks have it)

    ended, wakes = os.pipe()
    for end in (ended, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    status = 0
    while status >= 0 or -status in EXPECTED:
        folder = sys.stdin.readline()
        if not folder:
            return  # the worker is gone
        status = _forked(Path(json.loads(folder)), lower, limits, events, ended)


def _forked(folder: Path, lower: dict[str, int], limits: dict[str, int], events: IO[str], ended: int) -> int:
    """The exit status of a fork that reads the upload of which ``folder`` has the order."""
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _read(folder, lower, limits, server)
    with suppress(OSError):  # it has done so already, or has even ended
        os.setpgid(pid, pid)
    print(json.dumps({"pid": pid}), file=events)
    while (exited := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        readable, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in readable:
            os.read(ended, 1000)
        if sys.stdin in readable:  # nothing is sent meanwhile, so this is the end: the worker is gone
            break
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # and whatever it started
    if exited == (0, 0):
        os._exit(0)
    status = os.waitstatus_to_exitcode(exited[1])
    print(json.dumps({"status": status}), file=events)
    return status


def _read(folder: Path, lower: dict[str, int], limits: dict[str, int], server: int) -> NoReturn:
    """In the fork: what a process of its own would do, to its end."""
    status = os.EX_SOFTWARE
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent()
        if os.getppid() != server:  # it died before that was said
            os._exit(status)
        os.chdir(folder)
        with Path("order.json").open() as order, Path("log").open("ab") as output:
            for kept, here in ((order, 0), (output, 1), (output, 2)):
                os.dup2(kept.fileno(), here)
        os.closerange(3, limits["open_files"])
        confine(**limits)
        content: Json = json.loads(os.read(0, os.fstat(0).st_size))
        status = read_order(content, lower)
    except BaseException:  # nothing may leave this function: it would go on as the parent does
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
