"""What a pool process has at hand: settings, database, blobs, a warm runner, and word of a shutdown."""

import logging
import os
import platform
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models import installation
from models.bell import Bell, Ring
from models.blob_stores import stored
from models.blobs import BlobsAway
from models.database import Database, away, ring_after_commit
from models.news import teller
from models.problems import Problem
from models.repositories import leases, loose_blobs, turns
from models.repositories.leases import Claim, LostClaim
from models.settings import Settings
from models.storage import StorageFull, room
from models.types import Json
from models.work import NOUNS
from workers.causes import first_line, given_up
from workers.presence import Activity

log = logging.getLogger(__name__)

# Asks a pool process to let go of its work. Ignored by default, so harmless to a process that has yet to start; and
# left alone by billiard, which turns SIGTERM, SIGUSR1 and SIGUSR2 into an exit that Celery takes for a lost worker.
LET_GO = signal.SIGURG


class LetGo(Exception):
    """The worker shuts down: give the row back, blameless, so that a restart goes on with it at once."""


GPU = Path("/dev/nvidiactl")  # the driver of a GPU that a runner may find

Inbox = SimpleQueue[Any]
T = TypeVar("T")

AGAIN_SECONDS = 0.5  # between two looks whether a full disk has space again, or the database is back


class Worker:
    """Where a pool process does its work, one row at a time."""

    def __init__(self, settings: Settings, ring: Ring) -> None:
        self.settings = settings
        self.database = Database(settings.database, ring=ring, tell=teller(settings))
        confirm = partial(installation.confirm, self.database)
        self.blobs = stored(settings, announce=self._announce, confirm=confirm)
        self.name = f"{platform.node()}/{os.getpid()}"
        # The kind of device that its runner computes on, once that is known.
        self.device = None if settings.device == "cuda" or (settings.device == "auto" and GPU.exists()) else "cpu"
        self.activity = Activity()
        self.letting_go = False
        self._parent = os.getppid()
        self._inbox: Inbox = SimpleQueue()
        signal.signal(LET_GO, self._let_go)

    def _announce(self, sha256: str) -> None:
        self.write(partial(loose_blobs.announce, sha256=sha256))

    def _let_go(self, *_: object) -> None:
        self.letting_go = True
        self._inbox.put(None)  # a SimpleQueue may be put to in a signal handler

    def claim(self, noun: str, row_id: str) -> Claim | None:
        """Take the row; None if there is nothing to do about it. One whose workers went silent too often ends here."""
        try:
            claim = self.write(
                partial(leases.claim, noun=noun, row_id=row_id, worker=self.name, seconds=self.settings.lease_seconds)
            )
            if claim is None or claim.attempts <= self.settings.max_attempts:
                return claim
            self._end_in_vain(claim)
        except LetGo:
            pass
        return None

    def _end_in_vain(self, claim: Claim) -> None:
        log.error("[%s] given up after %d attempts", claim.log_id, self.settings.max_attempts)
        with suppress(LostClaim):  # not with the claim, which locks a shard before its job
            self.write(partial(self._give_up, claim=claim))

    def _give_up(self, session: Session, claim: Claim) -> None:
        _, cause = leases.attempts(session, claim)
        nobody_said = Problem.WORKER_LOST.document("Nothing is known of the last attempt.")
        NOUNS[claim.noun].give_up(session, claim, given_up(cause or nobody_said, self.settings.max_attempts))

    def take_turn(self) -> Claim | None:
        """Take the shard whose turn it is; None if none waits."""
        while True:
            claim = self.write(
                partial(
                    turns.take,
                    worker=self.name,
                    device=self.device,
                    seconds=self.settings.lease_seconds,
                    shard_seconds=self.settings.shard_seconds,
                )
            )
            if claim is None or claim.attempts <= self.settings.max_attempts:
                return claim
            self._end_in_vain(claim)

    def fail(self, claim: Claim, problem: Json) -> None:
        """End the row with the problem, and who met it where. Raises ``LostClaim`` and ``LetGo``."""
        self.write(lambda session: NOUNS[claim.noun].give_up(session, claim, self.signed(claim, problem)))

    def lost(self, claim: Claim, cause: Json) -> None:
        """Give the row back for another attempt at once, or end it if this was the last one. Raises ``LostClaim`` and
        ``LetGo``."""
        self.write(partial(self._lost, claim=claim, cause=self.signed(claim, cause)))

    def _lost(self, session: Session, claim: Claim, cause: Json) -> None:
        attempts, _ = leases.attempts(session, claim)
        if attempts < self.settings.max_attempts:
            leases.release(session, claim, blameless=False, cause=cause)
            ring_after_commit(session, Bell(claim.noun, claim.id))
        else:
            NOUNS[claim.noun].give_up(session, claim, given_up(cause, attempts))

    def signed(self, claim: Claim, problem: Json) -> Json:
        """The problem, and who met it where."""
        shard = {"shard": claim.id} if claim.noun == "shard" else {}
        return problem | shard | {"worker": self.name, "attempts": claim.fence, "log": claim.log_id}

    def write(self, change: Callable[[Session], T]) -> T:
        """What ``change`` returns, committed; while the disk is full or the database away tried until it works.
        (Leases lapse meanwhile, but the fence decides who comes first.) Raises ``LetGo``, and what ``change`` does."""
        return self._patiently(self.database.write, change)

    def read(self, look: Callable[[Session], T]) -> T:
        """What ``look`` returns, as patiently as ``write``."""
        return self._patiently(self.database.read, look)

    def _patiently(self, opened: Callable[[], AbstractContextManager[Session]], act: Callable[[Session], T]) -> T:
        said = False
        while True:
            try:
                with opened() as session:
                    return act(session)
            except StorageFull as full:
                why = str(full)
            except DBAPIError as error:
                if not away(error):
                    raise
                why = f"the database does not answer ({first_line(error.orig or error)})"
            if not said:
                log.warning("%s; waiting until that is over", why)
            said = True
            self.wait(SimpleQueue(), time.monotonic() + AGAIN_SECONDS)

    def renew(self, claim: Claim) -> None:
        """Keep the row. Raises ``LostClaim``."""
        self.write(partial(leases.renew, claim=claim, seconds=self.settings.lease_seconds))

    def renewal(self, claim: Claim) -> Callable[[], None]:
        """To be called often by what takes long and writes nothing: it keeps the row. Raises ``LostClaim`` and
        ``LetGo``."""
        due = time.monotonic() + self.settings.lease_seconds / 3

        def alive() -> None:
            nonlocal due
            if time.monotonic() > due:
                self.renew(claim)
                due = time.monotonic() + self.settings.lease_seconds / 3

        return alive

    def give_back(self, claim: Claim, *, rest: float | None = None) -> None:
        """Let anyone take the row at once, or after ``rest`` seconds, and the attempt not count; where that can't be
        written its lease will lapse instead."""
        with suppress(StorageFull, DBAPIError, LostClaim), self.database.write() as session:
            leases.release(session, claim, blameless=True, rest=rest)

    def wait_for_room(self, claim: Claim, folder: Path) -> None:
        """Keep the row until the disk of ``folder`` has more than its reserve. Raises ``LostClaim`` and ``LetGo``."""
        log.warning("waits for space in %s", folder)
        waits = True
        while waits:
            self.renew(claim)
            self.wait(SimpleQueue(), time.monotonic() + AGAIN_SECONDS)
            waits = not room(folder)

    def store(self, claim: Claim, act: Callable[[], T]) -> T:
        """What ``act``, which asks the blob store, returns; once that answers, if it is away. Keeps the row meanwhile,
        and waits for room on this machine's disk too. Raises ``LostClaim``, ``LetGo`` and what ``act`` does."""
        said = False
        while True:
            try:
                return act()
            except StorageFull:
                self.wait_for_room(claim, self.blobs.root)
            except BlobsAway as away:
                if not said:
                    log.warning("%s; waiting until that is over", away)
                said = True
            self.renew(claim)
            self.wait(SimpleQueue(), time.monotonic() + AGAIN_SECONDS)

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
