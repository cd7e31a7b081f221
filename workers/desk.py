"""What a pool process has at hand: settings, database, blobs, a warm runner, and word of a shutdown."""

import logging
import os
import platform
import signal
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy.orm import Session

from models.base import Json
from models.bell import Ring
from models.blobs import Blobs
from models.database import Database
from models.problems import Problem
from models.repositories import intake, leases, shards
from models.repositories.leases import Claim
from models.settings import Settings

log = logging.getLogger(__name__)

# Asks a pool process to let go of its work. Ignored by default, so harmless to a process that has yet to start; and
# left alone by billiard, which turns SIGTERM, SIGUSR1 and SIGUSR2 into an exit that Celery takes for a lost worker.
LET_GO = signal.SIGURG

GIVE_UP: dict[str, Callable[[Session, Claim, Json], None]] = {
    "model": intake.reject,
    "dataset": intake.reject,
    "shard": shards.fail,
}


class LetGo(Exception):
    """The worker shuts down: give the row back, blameless, so that a restart goes on with it at once."""


Inbox = SimpleQueue[Any]


class Desk:
    """Where a pool process does its work, one row at a time."""

    def __init__(self, settings: Settings, ring: Ring) -> None:
        self.settings = settings
        self.database = Database(settings.database, ring=ring)
        self.blobs = Blobs(settings.blob_dir)
        self.name = f"{platform.node()}/{os.getpid()}"
        self.letting_go = False
        self._parent = os.getppid()
        self._inbox: Inbox = SimpleQueue()
        signal.signal(LET_GO, self._let_go)

    def _let_go(self, *_: object) -> None:
        self.letting_go = True
        self._inbox.put(None)  # a SimpleQueue may be put to in a signal handler

    def claim(self, noun: str, row_id: str) -> Claim | None:
        """Take the row; None if there is nothing to do about it. One tried too often ends here (worker-lost)."""
        settings = self.settings
        with self.database.write() as session:
            claim = leases.claim(session, noun, row_id, worker=self.name, seconds=settings.lease_seconds)
            if claim is None or claim.attempts <= settings.max_attempts:
                return claim
            detail = f"{settings.max_attempts} attempts in a row ended without progress."
            GIVE_UP[noun](session, claim, Problem.WORKER_LOST.document(detail))
        log.error("%s %s: gave up after %d attempts", noun, row_id, settings.max_attempts)
        return None

    def renew(self, claim: Claim) -> None:
        """Keep the row. Raises ``LostClaim``."""
        with self.database.write() as session:
            leases.renew(session, claim, seconds=self.settings.lease_seconds)

    def wait(self, inbox: Inbox, until: float) -> Any:
        """The next thing in ``inbox``; None at the moment ``until`` (of ``time.monotonic``).

        Raises ``LetGo`` at a shutdown, and when the Celery process that this one belongs to is gone.
        """
        self._inbox = inbox
        try:
            thing = inbox.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            thing = None
        if self.letting_go or os.getppid() != self._parent:
            raise LetGo
        return thing
