"""How many threads a command computes with: one, unless it is told, and no more than the CPUs that it may use.

torch and OpenBLAS take one a core. They wait for each other in busy loops, so where other work has the cores too, a
command takes ten times as long with two threads as with one.
"""

import os
from collections.abc import MutableMapping
from contextlib import suppress
from math import ceil
from pathlib import Path

TOLD = "OMP_NUM_THREADS"
FOLLOW = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # those of NumPy and SciPy, and of torch
MOUNT = Path("/sys/fs/cgroup")


def bound_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have libraries that are imported from now on compute with as few threads as told by ``OMP_NUM_THREADS``."""
    environment[TOLD] = str(min(_told(environment.get(TOLD, "")), usable_cpus()))
    for name in FOLLOW:
        environment.setdefault(name, environment[TOLD])


def _told(text: str) -> int:
    first = text.split(",")[0].strip()  # OpenMP takes a list, one number a level
    return max(1, int(first)) if first.isascii() and first.isdigit() else 1


def usable_cpus(groups: Path = Path("/proc/self/cgroup"), mount: Path = MOUNT) -> int:
    """The CPUs that this process may use: by its affinity and, on Linux, by the quotas of its control groups."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
                root = mount / controllers
                # In a container the path may be the host's, while the mount is the container's own.
                inner = [root / folder for folder in (Path(path.lstrip("/")), *Path(path.lstrip("/")).parents)]
                quotas = [quota for folder in (*inner, root) if (quota := _quota(folder)) is not None]
                count = min([count, *(max(1, ceil(quota)) for quota in quotas)])
    return max(1, count)


def _quota(folder: Path) -> float | None:
    """CPUs that a control group may use in a period: version 2, then 1. None: all of them."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(quota) < 0 else int(quota) / int(period)
    return None
