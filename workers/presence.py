"""A pool process says that it is there, and what it does: a thread of it writes its presence every few seconds.

Nothing rests on it. Where the database is away, or the disk full, that beat is left out; leases go on without. A file
of the process's own is touched each time all the same, by which ``workers.alive`` knows it for alive.
"""

import logging
import os
import platform
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from models import metrics
from models.base import now
from models.database import Database
from models.repositories import presence
from models.repositories.leases import Claim
from models.types import Json
from radii import __version__
from workers.alive import touch
from workers.messages import Alive

log = logging.getLogger(__name__)

BEATS = 3  # in the time after which a silent worker is thought gone
LEAST_SECONDS = 15.0  # of that time: a busy database may keep a beat waiting


@dataclass
class Working:
    """What a worker works on."""

    claim: Claim
    since: datetime
    begun: float  # time.monotonic()
    method: str = ""  # of a shard
    doing: str | None = None


class Activity:
    """What a pool process does, for its presence; and its counters (``models.metrics``)."""

    def __init__(self) -> None:
        self.working: Working | None = None
        self.device = Alive()
        self.counted = 0  # progress that was written, of all shards
        self.busy = 0.0  # seconds of attempts that have ended

    def begin(self, claim: Claim) -> None:
        """An attempt begins."""
        self.working = Working(claim, now(), time.monotonic())

    def method(self, kind: str) -> None:
        """The claimed shard is of that kind of method."""
        if self.working is not None:
            self.working.method = kind

    def doing(self, phase: str) -> None:
        """What is done for it, in words that follow "while"."""
        if self.working is not None:
            self.working.doing = phase

    def count(self, progress: int) -> None:
        """So many samples, or inputs, were written down."""
        self.counted += progress
        if self.working is not None and progress:
            metrics.COUNTED.labels(self.working.method).inc(progress)

    def end(self, outcome: str) -> None:
        """The attempt has ended, so."""
        ended, self.working = self.working, None
        if ended is None:
            return
        seconds = time.monotonic() - ended.begun
        self.busy += seconds
        metrics.ATTEMPTS.labels(ended.claim.noun, outcome).inc()
        if ended.claim.noun == "shard" and outcome == "done":
            metrics.SHARD_SECONDS.labels(ended.method).observe(seconds)

    def busy_seconds(self) -> float:
        """Seconds of work, what is under way included."""
        working = self.working
        return self.busy + (time.monotonic() - working.begun if working else 0.0)

    def told(self) -> Json | None:
        """What is worked on, as ``Presence.work`` has it."""
        working = self.working
        if working is None:
            return None
        claim = working.claim
        return {
            "noun": claim.noun,
            "id": claim.id,
            "job": claim.job,
            "log": claim.log_id,
            "since": working.since.isoformat(),
            "doing": working.doing,
        }


class Presence(threading.Thread):
    """Beats until the process ends."""

    def __init__(
        self, name: str, activity: Activity, database: Database, queues: Sequence[str], *, lease_seconds: float
    ) -> None:
        super().__init__(name="presence", daemon=True)
        self.worker = name
        self.activity = activity
        self.database = database
        self.seconds = max(LEAST_SECONDS, lease_seconds)
        self.own = {
            "host": platform.node(),
            "version": __version__,
            "queues": " ".join(sorted(queues)),
            "started_at": now(),
        }
        self.leaving = threading.Event()
        self._rate: float | None = None
        self._before = 0, 0.0

    def run(self) -> None:
        self._write(presence.forget)
        while True:
            touch(os.getpid())
            self._write(self.beat)
            if self.leaving.wait(self.seconds / BEATS):
                return

    def leave(self) -> None:
        """The process ends in good order: it is gone at once, not when its last beat has lapsed."""
        self.leaving.set()
        self.join(timeout=2)
        touch(os.getpid(), gone=True)
        self._write(lambda session: presence.leave(session, self.worker))

    def beat(self, session: Session) -> None:
        """Write down what it does now."""
        device = self.activity.device
        values: dict[str, Any] = {
            "device": device.device,
            "memory": device.memory,
            "memory_total": device.memory_total,
            "samples_per_second": self._pace(),
            "work": self.activity.told(),
            "figures": metrics.written(),
        }
        presence.beat(session, self.worker, seconds=self.seconds, **self.own, **values)

    def _pace(self) -> float | None:
        """Progress a second of work since the last beat; that of before where there was none."""
        now_ = self.activity.counted, self.activity.busy_seconds()
        counted, seconds = now_[0] - self._before[0], now_[1] - self._before[1]
        if counted and seconds > 0:
            self._rate, self._before = counted / seconds, now_
        elif not self.activity.working:
            self._before = now_
        return self._rate

    def _write(self, change: Any) -> None:
        try:
            with self.database.write() as session:
                change(session)
        except Exception as error:  # whatever it is, the next beat comes; and work goes on meanwhile
            log.debug("could not say that it is there: %s", error)
