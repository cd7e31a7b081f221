"""Orders about small models, as a supervisor gives them to a runner."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.base import Json
from workers.messages import NAMES, Event, NetworkFiles, Order, Report


def order(x: Path, count: int, model: NetworkFiles, method: Json, **change: Any) -> Order:
    """About the first ``count`` inputs, nothing of which is known, on the CPU."""
    given: dict[str, Any] = {
        "method": method,
        "model": model,
        "denoiser": None,
        "x": str(x),
        "y": None,
        "inputs": count,
        "grid": None,
        "indices": list(range(count)),
        "cross_check": [],
        "chunks": [],
        "execution": None,
        "executions": [],
        "secret": "00" * 32,
        "batch_size": 7,
        "attempts": 1,
        "part": None,
        "device": "cpu",
        "log_id": "cert_1/shd_1/1",
        "log_level": "INFO",
    }
    return Order(**given | change)


class Heard:
    """What a computer emitted, as plain data, by kind."""

    def __init__(self) -> None:
        self.emitted: dict[str, list[Any]] = defaultdict(list)

    def __call__(self, event: Event) -> None:
        self.emitted[NAMES[type(event)]].append(event.document if isinstance(event, Report) else asdict(event))
