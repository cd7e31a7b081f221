"""A bell is answered: its row is claimed and worked on, and before it what has waited for longer."""

import logging
from functools import partial

from sqlalchemy.orm import Session

from models.bell import Bell
from models.repositories import leases
from models.tracing import following
from models.work import NOUNS
from workers.attempt import attempt
from workers.worker import LetGo, Worker

log = logging.getLogger(__name__)


def answer(worker: Worker, bell: Bell) -> None:
    """Work on the row that the bell is about; before it, on what has waited for longer: what other work waits for, and
    a row that a lost worker left."""
    try:
        before = worker.read(partial(_before, bell=bell))
    except LetGo:
        return
    for one in dict.fromkeys(bell if one[:2] == bell[:2] else one for one in (*before, bell)):
        try:
            with following(one.traceparent):
                _work(worker, one)
        except Exception:  # a row that nothing can be made of keeps no other waiting
            log.exception("could not work on %s %s", one.noun, one.id)


def _before(session: Session, bell: Bell) -> list[Bell]:
    queue = NOUNS[bell.noun].queue
    first = [noun.name for noun in NOUNS.values() if noun.first and noun.queue == queue]
    found = [(noun, leases.waiting(session, noun)) for noun in first]
    found.append((bell.noun, leases.abandoned(session, bell.noun)))
    return [Bell(noun, row_id) for noun, row_id in found if row_id is not None]


def _work(worker: Worker, bell: Bell | None) -> None:
    """Work on a row, unless that is done or somebody does it; and on what it leads to."""
    while bell is not None and not worker.letting_go:
        claim = worker.claim(bell.noun, bell.id)
        bell = claim and attempt(worker, claim, NOUNS[claim.noun].handle)
