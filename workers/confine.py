"""What a child does to itself before anything else. Standard library alone."""

import ctypes
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent() -> None:
    """Have Linux kill this process when its parent dies, even if native code never lets a Python thread run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(*, cpu_seconds: int, memory_bytes: int, file_bytes: int) -> None:
    """Limit this process, for good: CPU time (SIGXCPU ends it), address space, the size of a file, open files; no core
    dumps, which would write a stranger's bytes and ours to disk."""
    for what, limit in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = limit + 5 if what == resource.RLIMIT_CPU else limit  # SIGKILL, should SIGXCPU be held off
        resource.setrlimit(what, (limit, hard))
