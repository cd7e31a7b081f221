"""Sees a claimed shard through: a warm runner computes, this process writes down what it says and keeps the lease."""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models import storage
from models.bell import Bell
from models.counts import ChunkCounts, InputResult
from models.problems import Problem
from models.repositories import leases, shards
from models.repositories.leases import Claim
from models.repositories.recall import Asked, finish_known, recall, untouched
from models.repositories.shards import Network, WorkOrder
from models.repositories.splits import LONGEST
from models.storage import StorageFull
from models.types import Json
from radii.methods import parse_method
from workers.blob_checks import check_files, files_of
from workers.causes import Failed, ForOthers, Lost, first_line, lost, stalled
from workers.environment import TEMPORARY
from workers.messages import (
    Alive,
    Crash,
    Done,
    Enough,
    Failure,
    NetworkFiles,
    On,
    Order,
    Phase,
    Proposal,
    Report,
    Settled,
    Stopped,
)
from workers.paces import Paces
from workers.poison import amid_inputs, blamed
from workers.questions import asked_of
from workers.runner.heartbeat import STARTING
from workers.runner.process import Ended, Runner
from workers.sharding import Pacer, kind_of_device
from workers.worker import LetGo, Worker

WRITE_SECONDS = 0.5  # a crash loses at most this much counting, and a transaction costs a percent of it
AHEAD = 200  # inputs, about, of which it is looked up at once whether they need computing
WRITE_EVENTS = 1000  # a transaction stays short however fast the events come


def certify(worker: Worker, claim: Claim) -> Bell:
    """Compute the claimed shard to its end, or until others are to have the rest; next is its certification, which may
    be due to end with it. Raises what stops it: ``LostClaim``, ``LetGo``, ``Failed``, ``Lost``, and what nobody
    foresaw."""
    return supervisor_of(worker).certify(claim)


def _known(method: Json) -> None:
    """Raises ``ForOthers`` for a method that this version doesn't know, or not with these parameters."""
    try:
        parse_method(method)
    except ValueError as error:
        raise ForOthers(f"{method.get('kind')}: {first_line(error)}") from error


@cache
def supervisor_of(worker: Worker) -> "Supervisor":
    """The worker's own."""
    return Supervisor(worker)


class Supervisor:
    """Keeps a runner between shards; has it compute one shard at a time."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.runner: Runner | None = None
        self.paces = Paces()

    def certify(self, claim: Claim) -> Bell:
        """As the function. Never leaves a runner busy behind."""
        order = self.worker.write(partial(shards.begin, claim=claim, device=self.worker.device))
        try:
            self._certify(claim, order)
        except Lost as lost:
            if not amid_inputs(lost.phase):
                raise
            raise blamed(self.worker, claim, order, lost) from None
        return Bell("certification", claim.job)

    def _certify(self, claim: Claim, order: WorkOrder) -> None:
        self.worker.activity.method(order.method["kind"])
        _known(order.method)
        self._check(order, claim)
        ask = partial(asked_of, order, order.indices, self.worker.blobs, alive=self.worker.renewal(claim))
        asked = self.worker.store(claim, ask)
        if not self._recall(order, claim, asked):
            return
        # Of a part that was settled before there were any: else samples might be in that sum, and counted beside it.
        if asked.streams is not None and order.part is None:
            reused = self.worker.write(partial(shards.reuse, claim=claim, streams=asked.streams))
            there = {(chunk.index, chunk.stage, chunk.number) for chunk in order.chunks}
            order.chunks.extend(one for one in reused if (one.index, one.stage, one.number) not in there)
        seconds = self.worker.settings.shard_seconds
        if order.pace is not None and len(order.indices) * order.cost / order.pace > LONGEST * seconds:
            order = self.worker.write(partial(shards.fit, claim=claim, order=order, seconds=seconds))
        runner, started, inputs = self.lend(claim), time.monotonic(), len(order.indices)
        try:
            runner.send(self.message(order, claim))
            progress = ShardProgress(self.worker, claim, runner, asked, Pacer(order, seconds))
            progress.follow()
            self.give_back(runner)
            if not progress.stopped:
                self.paces.learn(order, inputs, time.monotonic() - started)
        finally:
            if self.runner is None:
                runner.kill()

    def _check(self, order: WorkOrder, claim: Claim) -> None:
        """All that the order names is there and whole. Raises ``Failed``."""
        arrays = {"the prepared inputs": order.x_blob} | ({"the prepared labels": order.y_blob} if order.y_blob else {})
        networks = files_of(order.model, "the model")
        if order.denoiser is not None:
            networks |= files_of(order.denoiser, "the denoiser")
        check_files(self.worker, claim, Problem.DATA_UNREADABLE, arrays)
        check_files(self.worker, claim, Problem.MODEL_UNREADABLE, networks)

    def lend(self, claim: Claim) -> Runner:
        """A runner, warm if there is one, else once there is space for its folder. Whoever has it gives it back, or
        kills it."""
        runner, self.runner = self.runner, None
        if runner is not None and not runner.gone():
            return runner
        while True:
            try:
                with storage.reported():
                    return Runner()
            except StorageFull:
                self.worker.wait_for_room(claim, TEMPORARY)

    def give_back(self, runner: Runner) -> None:
        """It has no order left, and is warm for the next."""
        self.runner = runner

    def _recall(self, order: WorkOrder, claim: Claim, asked: Asked) -> bool:
        """Answer what is known of these very questions, without a runner; whether there is anything left to do. If not,
        nor of what nobody has begun of the certification, that ends with it."""
        indices, order.indices[:] = list(order.indices), []
        for start in range(0, len(indices), WRITE_EVENTS):
            part = indices[start : start + WRITE_EVENTS]
            order.indices.extend(self.worker.write(partial(self._left, claim=claim, part=part, asked=asked)))
        if order.indices:
            return True
        self.worker.write(partial(shards.finish, claim=claim))
        while True:
            more = self.worker.read(partial(untouched, certification_id=order.certification_id, inputs=AHEAD))
            also = asked_of(order, more, self.worker.blobs)
            known = partial(finish_known, certification_id=order.certification_id, indices=more, asked=also)
            if not more or self.worker.write(known) < len(more):
                return False

    def _left(self, session: Session, claim: Claim, part: Sequence[int], asked: Asked) -> list[int]:
        """Those of ``part`` that are to be computed."""
        known = recall(session, claim, part, asked, seconds=self.worker.settings.lease_seconds)
        return [index for index in part if index not in known]

    def message(self, order: WorkOrder, claim: Claim) -> Order:
        """The order as the runner reads it: paths instead of digests, and the noise secret."""
        settings, path = self.worker.settings, self.worker.blobs.path
        return Order(
            method=order.method,
            model=self._files(order.model),
            denoiser=None if order.denoiser is None else self._files(order.denoiser),
            x=str(path(order.x_blob)),
            y=order.y_blob and str(path(order.y_blob)),
            inputs=order.inputs,
            grid=order.grid,
            indices=order.indices,
            cross_check=order.cross_check,
            chunks=order.chunks,
            execution=order.execution,
            executions=order.executions,
            secret=settings.secret().hex(),
            batch_size=settings.batch_size,
            attempts=claim.attempts + order.deaths,
            part=order.part,
            device=settings.device,
            log_id=claim.log_id,
            log_level=settings.log_level,
        )

    def _files(self, network: Network) -> NetworkFiles:
        path = self.worker.blobs.path
        external = {name: str(path(sha256)) for name, sha256 in network.external_data.items()}
        return NetworkFiles(network.settings, str(path(network.sha256)), external, network.digest)


class ShardProgress:
    """What the runner says of one shard, gathered and written down together about every ``WRITE_SECONDS``."""

    def __init__(self, worker: Worker, claim: Claim, runner: Runner, asked: Asked, pacer: Pacer) -> None:
        self.worker = worker
        self.claim = claim
        self.runner = runner
        self.asked = asked
        self.pacer = pacer
        self.told_enough = False
        self.stopped = False
        self.chunks: list[ChunkCounts] = []
        self.results: list[InputResult] = []
        self.report: Json | None = None
        self.written = time.monotonic()
        self.silent = 0.0  # seconds of listening
        self.phase, self.told = STARTING, ""  # what the row says of it
        self.last_words: str | None = None

    def follow(self) -> None:
        """Until the shard has succeeded, or others are to have the rest. What was counted by then is kept, whatever
        ends it: ``LostClaim``, ``LetGo``, ``SystemExit`` (SIGTERM to this very process), ``Failed`` or ``Lost``."""
        try:
            while not self._hear(self._next()):
                if time.monotonic() >= self._due() or self._pending() >= WRITE_EVENTS:
                    self._write()
            self._write()
            self.worker.write(self._end)
        except (LetGo, SystemExit):
            with suppress(StorageFull, DBAPIError), self.worker.database.write() as session:  # a shutdown does not wait
                self._record(session)
            raise
        except Failed:
            self._write()
            raise

    def _end(self, session: Session) -> None:
        """The shard ends, here or where it was stopped; and its pace is known from now on."""
        if self.worker.device is not None and (pace := self.pacer.per_second) is not None:
            shards.learn(session, self.claim, self.worker.device, pace)
        (shards.leave if self.stopped else shards.finish)(session, self.claim)

    def _next(self) -> object:
        """The next thing from the inbox, None at the moment when something is due. Raises ``Lost`` for a runner that
        hangs; time counts while it is listened to, since it waits, too, for a disk that is full."""
        before, due = time.monotonic(), self._due()
        thing = self.worker.wait(self.runner.inbox, due)
        passed = min(time.monotonic(), max(before, due)) - before  # not what this process slept through
        self.silent = self.silent + passed if thing is None else 0.0
        if self.silent > self.worker.settings.stall_seconds:
            raise stalled(self.runner.kill(), self.phase, self.silent)
        return thing

    def _due(self) -> float:
        seconds = self.worker.settings.lease_seconds / 3
        return self.written + (min(seconds, WRITE_SECONDS) if self._pending() else seconds)

    def _pending(self) -> int:
        return len(self.chunks) + len(self.results) + (self.report is not None) + (self.phase != self.told)

    def _hear(self, thing: object) -> bool:
        """Take in one thing from the inbox; whether the runner is done. Raises ``Failed`` and ``Lost``."""
        match thing:
            case ChunkCounts():
                self.chunks.append(thing)
                self.pacer.counted(thing)
                self._share()
            case InputResult():
                self.results.append(thing)
                self.pacer.said(thing)
                self._share()
            case On(device):
                self.worker.device = kind_of_device(device)
            case Proposal(execution):
                settled = self.worker.write(partial(shards.settle, claim=self.claim, proposal=execution))
                self.runner.send(Settled(settled))
            case Report(document):
                self.report = document
            case Phase(name):
                self.phase = name
                self.pacer.enters(name)
                self.worker.activity.doing(name)
            case Alive():
                self.worker.activity.device = thing
            case Crash(words):
                self.last_words = words
            case Done() | Stopped():
                self.stopped = isinstance(thing, Stopped)
                return True
            case Failure(problem):
                raise Failed(problem)
            case _ if thing is Ended:
                raise lost(self.runner.kill(), self.phase, self.last_words)
        return False

    def _share(self) -> None:
        """Have the runner stop, once, where the rest is for others."""
        if not self.told_enough and self.pacer.enough():
            self.told_enough = True
            self.runner.send(Enough())

    def _write(self) -> None:
        """Everything gathered, and the lease, in one transaction."""
        self.worker.activity.count(self.worker.write(self._record))
        self.chunks, self.results, self.report, self.written = [], [], None, time.monotonic()
        self.told = self.phase

    def _record(self, session: Session) -> int:
        """The progress that was new."""
        seconds = self.worker.settings.lease_seconds
        if self._pending():
            return shards.record(
                session,
                self.claim,
                self.chunks,
                self.results,
                seconds=seconds,
                doing=self.phase if self.phase != self.told else None,
                report=self.report,
                streams=self.asked.streams,
                question=self.asked.question,
            )
        leases.renew(session, self.claim, seconds=seconds)
        return 0
