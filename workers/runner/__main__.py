"""The child that computes: ``python -m workers.runner``.

Orders come on stdin, events leave on what was stdout (``workers.messages``). Whatever native code prints goes to
stderr. It stays warm for the next order, gives memory back when none comes for a while, and dies with its supervisor.
"""

import logging
import os
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import IO

from models import logs
from models.counts import ChunkCounts, InputResult
from models.types import Json
from workers.causes import first_line
from workers.confine import die_with_parent
from workers.messages import (
    Crash,
    Done,
    Enough,
    Event,
    Failure,
    Message,
    Order,
    Phase,
    Proposal,
    Settled,
    Stopped,
    decoded,
    encoded,
)
from workers.runner.heartbeat import HEART, Say, phase_of, step

log = logging.getLogger(__name__)

HOLD_SECONDS = 0.2  # that a counted chunk may wait for the next ones: less than half of what a crash loses anyway
IDLE_SECONDS = 120.0  # then memory goes back; that of a GPU with the process, which takes some three seconds to start

ENOUGH = threading.Event()


class EnoughIsDone(BaseException):
    """What is being computed is left to others: no error, so nobody who handles errors is to see it."""


def read_orders(orders: SimpleQueue[Message], answers: SimpleQueue[Message]) -> None:
    """Take orders, and answers to what is asked about the one that is worked on, until stdin ends: then the supervisor
    is gone, and with it the reason to go on."""
    for line in sys.stdin.buffer:
        message = decoded(line)
        if isinstance(message, Enough):
            ENOUGH.set()
            continue
        if isinstance(message, Order):
            ENOUGH.clear()
        HEART.working = True
        (answers if isinstance(message, Settled) else orders).put(message)
    os._exit(0)


def sayer(events: IO[str], seconds: float = HOLD_SECONDS) -> Say:
    """Says one thing at a time: the thread of the heartbeat speaks, too. Votes that come thick and fast are said
    together, with the next thing that is none, or once ``seconds`` have passed since the last ones: each wakes the
    supervisor, which takes as long as counting a thousand samples of a small network."""
    mouth, held, due = threading.Lock(), list[ChunkCounts](), 0.0

    def say(event: Event) -> None:
        nonlocal due
        with mouth:
            # Whole numbers always have an encoding, which many together take less time for.
            if isinstance(event, ChunkCounts) and event.scores is None and time.monotonic() < due:
                held.append(event)
                return
            events.write("".join(map(encoded, (*held, event))))
            held.clear()
            due = time.monotonic() + seconds

    return say


def serve(orders: SimpleQueue[Message], answers: SimpleQueue[Message], say: Say) -> None:
    """Work on orders until none comes, and a GPU is in use for nothing."""
    import workers.methods.smoothing  # noqa: F401 (what most ask for, so that the first need not wait for it)
    from workers.runner.compute import ShardComputer  # torch: seconds, in which orders are already read

    def emit(event: Event) -> None:
        say(event)
        step()
        if ENOUGH.is_set() and isinstance(event, ChunkCounts | InputResult):
            raise EnoughIsDone

    def ask(execution: Json) -> Json:
        emit(Proposal(execution))
        settled = answers.get()
        assert isinstance(settled, Settled)
        return settled.execution

    computer = ShardComputer()
    while True:
        try:
            order = orders.get(timeout=IDLE_SECONDS)
        except Empty:
            if computer.rest():
                continue
            return
        assert isinstance(order, Order)
        logging.getLogger().setLevel(order.log_level)
        with logs.about(order.log_id):
            try:
                problem = computer.work(order, emit, ask)
                last: Event = Failure(problem) if problem else Done()
            except EnoughIsDone:
                last = Stopped()
        HEART.rest()
        HEART.working = not orders.empty()
        emit(last)


def main() -> None:
    die_with_parent()
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logs.configure("INFO", logs.of_environment())
    say = sayer(events)
    HEART.start(say)
    orders: SimpleQueue[Message] = SimpleQueue()
    answers: SimpleQueue[Message] = SimpleQueue()
    threading.Thread(target=read_orders, args=(orders, answers), daemon=True).start()
    try:
        serve(orders, answers, say)
        logging.shutdown()
        os._exit(0)  # an orderly end waits for the thread that reads orders, and aborts
    except Exception as error:
        log.exception("ended")
        say(Phase(phase_of(error)))
        say(Crash(first_line(error)))
        os._exit(1)  # a GPU whose state is lost may hold up an orderly end; the supervisor tries the order again


if __name__ == "__main__":
    main()
