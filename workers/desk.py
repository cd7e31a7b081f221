"""What a pool process has at hand: settings, database, blobs, a warm runner, and word of a shutdown."""

import logging
import os
import platform
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from models.base import Json
from models.bell import Ring
from models.blobs import Blobs
from models.database import Database
from models.problems import Problem
from models.repositories import certifications, intake, leases, shards
from models.repositories.leases import Claim, LostClaim
from models.settings import Settings
from models.storage import StorageFull, room

log = logging.getLogger(__name__)

# Asks a pool process to let go of its work. Ignored by default, so harmless to a process that has yet to start; and
# left alone by billiard, which turns SIGTERM, SIGUSR1 and SIGUSR2 into an exit that Celery takes for a lost worker.
LET_GO = signal.SIGURG

GIVE_UP: dict[str, Callable[[Session, Claim, Json], None]] = {
    "model": intake.reject,
    "dataset": intake.reject,
    "shard": shards.fail,
    "certification": certifications.give_up,
}


class LetGo(Exception):
    """The worker shuts down: give the row back, blameless, so that a restart goes on with it at once."""


Inbox = SimpleQueue[Any]
T = TypeVar("T")

SPACE_SECONDS = 0.5  # between two looks whether a full disk has space again


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
        try:
            return self.write(partial(self._claim, noun=noun, row_id=row_id))
        except LetGo:
            return None

    def _claim(self, session: Session, noun: str, row_id: str) -> Claim | None:
        settings = self.settings
        claim = leases.claim(session, noun, row_id, worker=self.name, seconds=settings.lease_seconds)
        if claim is None or claim.attempts <= settings.max_attempts:
            return claim
        log.error("%s %s: gives up after %d attempts", noun, row_id, settings.max_attempts)
        detail = f"{settings.max_attempts} attempts in a row ended without progress."
        GIVE_UP[noun](session, claim, Problem.WORKER_LOST.document(detail))
        return None

    def write(self, change: Callable[[Session], T]) -> T:
        """What ``change`` returns, committed; on a full disk tried again until there is space. (Leases lapse meanwhile,
        but nobody can claim either, and the fence decides who comes first.) Raises ``LetGo``, and what ``change`` does.
        """
        said = False
        while True:
            try:
                with self.database.write() as session:
                    return change(session)
            except StorageFull as full:
                if not said:
                    log.warning("%s; waiting until there is some", full)
                said = True
            self.wait(SimpleQueue(), time.monotonic() + SPACE_SECONDS)

    def renew(self, claim: Claim) -> None:
        """Keep the row. Raises ``LostClaim``."""
        self.write(partial(leases.renew, claim=claim, seconds=self.settings.lease_seconds))

    def give_back(self, claim: Claim) -> None:
        """Let anyone take the row at once, and the attempt not count; on a full disk its lease will lapse instead."""
        with suppress(StorageFull, LostClaim), self.database.write() as session:
            leases.release(session, claim, blameless=True)

    def wait_for_room(self, claim: Claim, folder: Path) -> None:
        """Keep the row until the disk of ``folder`` has more than its reserve. Raises ``LostClaim`` and ``LetGo``."""
        log.warning("%s %s: waits for space in %s", claim.noun, claim.id, folder)
        waits = True
        while waits:
            self.renew(claim)
            self.wait(SimpleQueue(), time.monotonic() + SPACE_SECONDS)
            waits = not room(folder)

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
