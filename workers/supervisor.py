"""Sees a claimed shard through: a warm runner computes, this process writes down what it says and keeps the lease."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial

from sqlalchemy.orm import Session

from models import storage
from models.base import Json
from models.bell import Bell
from models.database import ring_after_commit
from models.problems import Problem
from models.repositories import leases, shards
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult
from models.repositories.leases import Claim, LostClaim
from models.repositories.recall import Asked, finish_known, recall, untouched
from models.repositories.shards import Network, WorkOrder
from models.storage import StorageFull
from workers.asked import asked_of
from workers.child import Ended, Runner
from workers.desk import Desk, LetGo
from workers.environment import TEMPORARY

log = logging.getLogger(__name__)

WRITE_SECONDS = 0.5  # a crash loses at most this much counting, and a transaction costs a percent of it
AHEAD = 200  # inputs, about, of which it is looked up at once whether they need computing
WRITE_EVENTS = 1000  # a transaction stays short however fast the events come

Last = Callable[[Session, Claim], None]


class Supervisor:
    """Keeps a runner between shards; has it compute one shard at a time."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.runner: Runner | None = None

    def certify(self, claim: Claim) -> None:
        """Compute the claimed shard to its end, or as far as it goes. Never leaves a runner busy behind."""
        if self.runner is not None and self.runner.gone():
            self.runner = None
        try:
            order = self.desk.write(partial(shards.begin, claim=claim))
            asked = asked_of(order, order.indices, self.desk.blobs)
            if not self._recall(order, claim, asked):
                return
            if asked.streams is not None:
                order.chunks.extend(self.desk.write(partial(shards.reuse, claim=claim, streams=asked.streams)))
            runner, self.runner = self.runner or self._start(claim), None
        except LostClaim:
            return
        except LetGo:  # while it waited for space on a full disk
            self.desk.give_back(claim)
            return
        try:
            runner.send(self._letter(order, claim))
            if _Watch(self.desk, claim, runner, asked).follow() is shards.finish:
                self.runner = runner  # warm for the next
        except LostClaim:
            log.info("shard %s: cancelled, or taken over by another worker", claim.id)
        except LetGo:
            log.info("shard %s: given back", claim.id)
        finally:
            if self.runner is None:
                runner.kill()

    def _start(self, claim: Claim) -> Runner:
        """A runner, once there is space for its folder."""
        while True:
            try:
                with storage.reported():
                    return Runner()
            except StorageFull:
                self.desk.wait_for_room(claim, TEMPORARY)

    def _recall(self, order: WorkOrder, claim: Claim, asked: Asked) -> bool:
        """Answer what is known of these very questions, without a runner; whether there is anything left to do. If not,
        nor of what nobody has begun of the certification, that ends with it."""
        indices, order.indices[:] = list(order.indices), []
        try:
            for start in range(0, max(1, len(indices)), WRITE_EVENTS):
                part = indices[start : start + WRITE_EVENTS]
                last = start + len(part) == len(indices) and not order.indices
                order.indices.extend(
                    self.desk.write(partial(self._recalled, claim=claim, part=part, asked=asked, last=last))
                )
            while not order.indices:
                with self.desk.database.read() as session:
                    more = untouched(session, order.certification_id, inputs=AHEAD)
                also = asked_of(order, [index for shard in more.values() for index in shard], self.desk.blobs)
                known = partial(finish_known, certification_id=order.certification_id, shard_ids=list(more), asked=also)
                if not more or self.desk.write(known) < len(more):
                    return False
        except CountsMismatch as error:
            log.exception("shard %s", claim.id)
            problem = Problem.COUNTS_MISMATCH.document(f"{error}.")
            self.desk.write(partial(shards.fail, claim=claim, problem=problem))
            return False
        return True

    def _recalled(self, session: Session, claim: Claim, part: Sequence[int], asked: Asked, last: bool) -> list[int]:
        """Those of ``part`` that are to be computed; if there are none, and it is the ``last`` one, the shard ends."""
        known = recall(session, claim, part, asked, seconds=self.desk.settings.lease_seconds)
        left = [index for index in part if index not in known]
        if last and not left:
            shards.finish(session, claim)
        return left

    def _letter(self, order: WorkOrder, claim: Claim) -> Json:
        """The order as the runner reads it: paths instead of digests, and the noise secret."""
        path = self.desk.blobs.path
        return {
            "method": order.method,
            **self._network(order.model),
            "denoiser": order.denoiser and self._network(order.denoiser),
            "x": str(path(order.x_blob)),
            "y": order.y_blob and str(path(order.y_blob)),
            "indices": order.indices,
            "cross_check": order.cross_check,
            "inputs": order.inputs,
            "grid": order.grid,
            "chunks": [asdict(chunk) for chunk in order.chunks],
            "secret": self.desk.settings.secret().hex(),
            "batch_size": self.desk.settings.batch_size,
            "execution": order.execution,
            "executions": order.executions,
            "attempts": claim.attempts,
            "device": self.desk.settings.device,
        }

    def _network(self, network: Network) -> Json:
        path = self.desk.blobs.path
        return {
            "settings": network.settings,
            "digest": network.digest,
            "file": str(path(network.sha256)),
            "external_data": {name: str(path(sha256)) for name, sha256 in network.external_data.items()},
        }


class _Watch:
    """One shard's events, gathered and written down together about every ``WRITE_SECONDS``."""

    def __init__(self, desk: Desk, claim: Claim, runner: Runner, asked: Asked) -> None:
        self.desk = desk
        self.claim = claim
        self.runner = runner
        self.asked = asked
        self.chunks: list[ChunkCounts] = []
        self.results: list[InputResult] = []
        self.report: Json | None = None
        self.written = time.monotonic()

    def follow(self) -> Last:
        """Until the shard ends here, one way or another; which way. Raises ``LostClaim``, and ``LetGo`` or
        ``SystemExit`` (SIGTERM to this very process) after giving the shard back."""
        try:
            return self._follow()
        except (LetGo, SystemExit):
            with suppress(StorageFull), self.desk.database.write() as session:  # a shutdown waits for no space
                self._record(session, partial(leases.release, blameless=True))
            raise

    def _follow(self) -> Last:
        last: Last | None = None
        while last is None:
            last = self._hear(self.desk.wait(self.runner.inbox, self._due()))
            if last or time.monotonic() >= self._due() or self._pending() >= WRITE_EVENTS:
                last = self._write(last)
        return last

    def _due(self) -> float:
        seconds = self.desk.settings.lease_seconds / 3
        return self.written + (min(seconds, WRITE_SECONDS) if self._pending() else seconds)

    def _pending(self) -> int:
        return len(self.chunks) + len(self.results) + (self.report is not None)

    def _hear(self, thing: object) -> Last | None:
        """Take in one thing from the inbox; how the shard ends, if with that it does."""
        match thing:
            case {"chunk": chunk}:
                self.chunks.append(ChunkCounts(**chunk))
            case {"result": result}:
                self.results.append(InputResult(**result))
            case {"execution": proposal}:
                self.runner.send(self.desk.write(partial(shards.settle, claim=self.claim, proposal=proposal)))
            case {"report": report}:
                self.report = report
            case {"done": _}:
                return shards.finish
            case {"error": problem}:
                return partial(shards.fail, problem=problem)
            case _ if thing is Ended:
                log.error("shard %s: its runner ended with status %s", self.claim.id, self.runner.kill())
                return _retry
        return None

    def _write(self, last: Last | None) -> Last | None:
        """Everything gathered, the lease, and how the shard ends, in one transaction; how it ended."""
        try:
            self.desk.write(partial(self._record, last=last))
        except CountsMismatch as error:
            log.exception("shard %s", self.claim.id)
            last = partial(shards.fail, problem=Problem.COUNTS_MISMATCH.document(f"{error}."))
            self.desk.write(partial(last, claim=self.claim))
        self.chunks, self.results, self.report, self.written = [], [], None, time.monotonic()
        return last

    def _record(self, session: Session, last: Last | None) -> None:
        seconds = self.desk.settings.lease_seconds
        if self._pending():
            shards.record(
                session,
                self.claim,
                self.chunks,
                self.results,
                seconds=seconds,
                report=self.report,
                streams=self.asked.streams,
                question=self.asked.question,
            )
        elif last is None:
            leases.renew(session, self.claim, seconds=seconds)
        if last:
            last(session, self.claim)


def _retry(session: Session, claim: Claim) -> None:
    """Give the shard back after a crash: the attempt counts, and the next one starts at once."""
    leases.release(session, claim, blameless=False)
    ring_after_commit(session, Bell(claim.noun, claim.id))
