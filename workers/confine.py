"""What a child does to itself before anything else. Standard library alone."""

import ctypes
import resource
import signal
import sys
from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

RESOURCES = {
    "cpu_seconds": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "open_files": resource.RLIMIT_NOFILE,
}
GRACE = 5  # seconds of CPU time between SIGXCPU and SIGKILL, should the former be held off


def die_with_parent() -> None:
    """Have Linux kill this process when its parent dies, even if native code never lets a Python thread run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def inherited(limits: Mapping[str, int]) -> dict[str, int]:
    """The limits of this process, which its children inherit, that are lower than those of ``limits``."""
    rooms = {name: _room(RESOURCES[name]) for name in limits}
    return {name: room for name, room in rooms.items() if room is not None and room < limits[name]}


def confine(**limits: int) -> None:
    """Limit this process, for good: CPU time (SIGXCPU ends it), address space, the size of a file, open files; no core
    dumps, which would write a stranger's bytes and ours to disk. Where it inherited a lower limit, that one stays."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, limit in {**limits, **inherited(limits)}.items():
        what = RESOURCES[name]
        hard = limit + GRACE if what == resource.RLIMIT_CPU else limit
        most = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit, hard if most == resource.RLIM_INFINITY else min(hard, most)))


def _room(what: int) -> int | None:
    """How far this process may go already; None: there is no limit."""
    soft, hard = resource.getrlimit(what)
    if what == resource.RLIMIT_CPU and hard != resource.RLIM_INFINITY:
        hard = max(1, hard - 1)  # at the hard one comes SIGKILL, which would not tell what for
    return min((limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY), default=None)
