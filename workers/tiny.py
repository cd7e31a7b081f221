"""Tiny jobs of one model, worked on together by a warm runner.

To the database a job costs a dozen transactions, one after the other, and to the runner a moment: many begun in one and
ended in another cost each little more than that moment. It is known how long the model takes, from the jobs before; who
is unknown, or takes longer, is worked on alone, and so is whatever is out of the ordinary.
"""

import logging
import time
from collections.abc import Sequence
from functools import partial

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.bell import Bell
from models.counts import ChunkCounts, InputResult
from models.logs import about
from models.repositories import leases, tiny
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import LostClaim
from models.repositories.recall import Asked
from models.repositories.shards import WorkOrder
from models.repositories.tiny import Done, Tiny
from models.types import Json
from workers import messages
from workers.attempt import attempt, named
from workers.causes import Failed, first_line, lost, stalled
from workers.messages import Alive, Crash, Failure, Phase, Proposal, Settled
from workers.questions import asked_of
from workers.runner.heartbeat import STARTING
from workers.runner.process import Ended, Runner
from workers.supervisor import Supervisor, supervisor_of
from workers.worker import LetGo, Worker

log = logging.getLogger(__name__)

UNITS = 100_000  # of work, such as samples, of a job at most
SECONDS = 0.25  # that jobs worked on together take, about: so long the others wait
MOST = 32  # of them


class _Unread(Exception):
    """Files that nobody has compared with their digests here, which may take long."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(*digests)
        self.digests = digests


def together(worker: Worker) -> bool:
    """Work on the certification whose turn it is, and on others like it, to their ends; whether it was one for this.
    Raises ``LetGo`` and ``SystemExit``."""
    supervisor = supervisor_of(worker)
    jobs = [] if worker.letting_go else _begun(worker, supervisor)
    if not jobs:
        return False
    done: list[Done] = []
    started, trouble = time.monotonic(), None
    try:
        runner = supervisor.lend(jobs[0].claim)
        try:
            _compute(worker, supervisor, runner, jobs, done)
            supervisor.give_back(runner)
        finally:
            if supervisor.runner is None:
                runner.kill()
        supervisor.paces.learn(jobs[0].order, sum(len(job.order.indices) for job in jobs), time.monotonic() - started)
    except Failed as failed:
        trouble = failed
    except BaseException:  # a shutdown, or what nobody foresaw, which is met again by each of them alone
        worker.activity.end("given_back")
        _give_back(worker, jobs[len(done) :])
        _end(worker, done)
        raise
    _end(worker, done)
    if trouble is not None:
        ill, *rest = jobs[len(done) :]
        attempt(worker, ill.claim, partial(_raise, trouble))
        _give_back(worker, rest)
    return True


def _begun(worker: Worker, supervisor: Supervisor) -> list[Tiny]:
    """Those to work on together; empty where what is next is not of the kind."""

    def many(order: WorkOrder) -> int:
        seconds = supervisor.paces.seconds(order)
        return 0 if seconds is None or seconds > SECONDS else min(MOST, max(1, int(SECONDS / seconds)))

    begin = partial(
        tiny.begin,
        ask=partial(_asked, worker),
        many=many,
        units=UNITS,
        worker=worker.name,
        seconds=worker.settings.lease_seconds,
    )
    try:
        try:
            return worker.write(begin)
        except _Unread as unread:
            for sha256 in unread.digests:
                worker.blobs.verified(sha256)
            return worker.write(begin)
    except LetGo:
        raise
    except Exception as error:  # whoever works on it alone says what is wrong, or waits until it is over
        log.info("begins none together: %s", first_line(error))
        return []


def _asked(worker: Worker, order: WorkOrder) -> Asked:
    networks = [network for network in (order.model, order.denoiser) if network is not None]
    files = [sha256 for network in networks for sha256 in (network.sha256, *network.external_data.values())]
    files += [sha256 for sha256 in (order.x_blob, order.y_blob) if sha256 is not None]
    if unread := [sha256 for sha256 in files if not worker.blobs.known(sha256)]:
        raise _Unread(unread)
    return asked_of(order, order.indices, worker.blobs)


def _compute(worker: Worker, supervisor: Supervisor, runner: Runner, jobs: Sequence[Tiny], done: list[Done]) -> None:
    """Add to ``done`` each job that the runner is done with. Raises what stops it: ``Failed`` of the next one, or
    ``LetGo``."""
    heard = _Heard(worker, runner, jobs)
    for job in jobs:
        runner.send(supervisor.message(job.order, job.claim))
    for job in jobs:
        with named(job.claim):
            done.append(_one(worker, runner, heard, job))


def _one(worker: Worker, runner: Runner, heard: "_Heard", job: Tiny) -> Done:
    worker.activity.begin(job.claim)
    worker.activity.method(job.order.method["kind"])
    execution: Json | None = job.order.execution
    chunks, results = list[ChunkCounts](), list[InputResult]()
    while not isinstance(thing := heard.next(), messages.Done):
        match thing:
            case ChunkCounts():
                chunks.append(thing)
            case InputResult():
                results.append(thing)
            case Proposal(proposed):  # it is nobody else's: no other worker has a part of it
                execution = proposed
                runner.send(Settled(execution))
    worker.activity.count(sum(sum(chunk.counts) for chunk in chunks))
    worker.activity.end("done")
    return Done(job, execution, chunks, results)


class _Heard:
    """What a runner says, while the jobs' leases are kept."""

    def __init__(self, worker: Worker, runner: Runner, jobs: Sequence[Tiny]) -> None:
        self.worker, self.runner, self.jobs = worker, runner, jobs
        self.phase = STARTING
        self.words: str | None = None
        self.renewed = time.monotonic()
        self.silent = 0.0

    def next(self) -> object:
        """The next thing that matters. Raises ``Failed``, ``Lost`` and ``LetGo``."""
        while True:
            before = time.monotonic()
            thing = self.worker.wait(self.runner.inbox, before + 1)
            self.silent = 0.0 if thing is not None else self.silent + time.monotonic() - before
            if self.silent > self.worker.settings.stall_seconds:
                raise stalled(self.runner.kill(), self.phase, self.silent)
            if time.monotonic() > self.renewed + self.worker.settings.lease_seconds / 3:
                self.worker.write(self._renew)
                self.renewed = time.monotonic()
            match thing:
                case Phase(name):
                    self.phase = name
                    self.worker.activity.doing(name)
                case Alive():
                    self.worker.activity.device = thing
                case Crash(words):
                    self.words = words
                case Failure(problem):
                    raise Failed(problem)
                case _ if thing is Ended:
                    raise lost(self.runner.kill(), self.phase, self.words)
                case messages.Done() | ChunkCounts() | InputResult() | Proposal():
                    return thing

    def _renew(self, session: Session) -> None:
        for job in self.jobs:
            try:
                leases.renew(session, job.claim, seconds=self.worker.settings.lease_seconds)
            except LostClaim:  # cancelled: that is seen when it ends
                log.info("[%s] is no more this worker's", job.claim.log_id)


def _end(worker: Worker, done: Sequence[Done]) -> None:
    """Write down what came of them: together, or, where one of them is no more to be ended, one by one."""
    if not done:
        return
    try:
        worker.write(partial(tiny.end, done=done))
    except (LostClaim, CountsMismatch, IntegrityError):
        for one in done:
            attempt(worker, one.job.claim, partial(_end_one, one=one))
    for one in done:
        with about(one.job.claim.log_id):
            log.info("done by %s", worker.name)


def _end_one(worker: Worker, _claim: leases.Claim, one: Done) -> None:
    worker.write(partial(tiny.end, done=[one]))


def _raise(trouble: Failed, *_: object) -> None:
    raise trouble


def _give_back(worker: Worker, jobs: Sequence[Tiny]) -> None:
    """Nobody has begun to compute these: anyone may take them at once."""
    for job in jobs:
        worker.give_back(job.claim)
        worker.database.ring(Bell("shard", job.claim.id))
