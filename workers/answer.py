"""A bell is answered: a row is claimed and worked on. Which one, the bell says or, of nouns that take turns, the
database; and before it what a lost worker left."""

import logging
from collections.abc import Callable
from functools import partial

from models.bell import Bell
from models.repositories import leases, turns
from models.repositories.leases import Claim
from models.tracing import following
from models.work import NOUNS
from workers.attempt import attempt
from workers.worker import LetGo, Worker

log = logging.getLogger(__name__)

Take = Callable[[], Claim | None]


def answer(worker: Worker, bell: Bell) -> None:
    """Work on a row that a lost worker left, and on the one that the bell is about; or, where rows take turns, end a
    certification that is due, and compute the shard whose turn it is: many together, where they are tiny."""
    together = NOUNS[bell.noun].handle_together
    takes: list[Take]
    if NOUNS[bell.noun].in_turn:
        takes = [partial(_due, worker), worker.take_turn]
    else:
        takes = [partial(_abandoned, worker, bell), partial(worker.claim, bell.noun, bell.id)]
    for take in takes:
        try:
            if take is takes[-1] and together is not None and together(worker):
                return
            _work(worker, take, bell)
        except LetGo:
            return
        except Exception:  # a row that nothing can be made of keeps no other waiting
            log.exception("could not work on what a bell for %s %s led to", bell.noun, bell.id)


def _due(worker: Worker) -> Claim | None:
    row_id = worker.read(turns.due)
    return None if row_id is None else worker.claim("certification", row_id)


def _abandoned(worker: Worker, bell: Bell) -> Claim | None:
    row_id = worker.read(partial(leases.abandoned, noun=bell.noun))
    return None if row_id in (None, bell.id) else worker.claim(bell.noun, str(row_id))


def _work(worker: Worker, take: Take, rung: Bell) -> None:
    """Work on a row, if there is one to take, and on what it leads to; in the trace of the request that rang for it."""
    claim = None if worker.letting_go else take()
    while claim is not None:
        with following(rung.traceparent if rung.id in (claim.id, claim.job) else None):
            bell = attempt(worker, claim, NOUNS[claim.noun].handle)
        claim = None if bell is None or worker.letting_go else worker.claim(bell.noun, bell.id)
