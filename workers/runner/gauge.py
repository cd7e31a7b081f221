"""How much memory this runner holds of the device that it computes on. Nothing here calls a GPU's driver: it is asked
amid captures of CUDA graphs, by another thread."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from workers.causes import memory_there
from workers.messages import Alive

STATM = Path("/proc/self/statm")


def gauge(device: torch.device) -> Callable[[], Alive]:
    """Says it of ``device``: of a GPU what torch has reserved there, of the CPU what this process has resident."""
    if device.type == "cpu":
        there = memory_there()
        return lambda: Alive("cpu", _resident(), there)
    name, total = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
    return lambda: Alive(name, torch.cuda.memory_reserved(device), total)


def _resident() -> int | None:
    with suppress(OSError):
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
