"""The Celery application: ``python -m celery -A workers.main worker --queues certify``.

A pool process answers a bell by claiming its row; a row that has ended, or that somebody works on, is left alone. The
main process sweeps (``workers.sweeper``) and passes a shutdown on. Pool processes are spawned, not forked: the main
process has threads and connections that a fork would copy in an unknown state.
"""

import functools
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import signals
from sqlalchemy.orm import Session

from models.bell import CERTIFY, TASKS, Bell, celery_app, celery_ring
from models.bootstrap import WrongSecretError, check_secret
from models.database import Database
from models.repositories import leases
from models.settings import Settings
from workers import logs
from workers.attempt import attempt
from workers.desk import Desk, LetGo
from workers.intake import take_in
from workers.sharding import shard_or_end
from workers.supervisor import Supervisor
from workers.sweeper import Sweeper

SETTINGS = Settings()

app = celery_app(SETTINGS)
app.conf.update(include=["workers.main"], worker_pool_start_method="spawn")


@functools.cache
def supervisor() -> Supervisor:
    """This pool process's."""
    return Supervisor(Desk(SETTINGS, celery_ring(app)))


def answer(bell: Bell) -> None:
    """Work on the row that the bell is about; before it, on what has waited for longer: a certification that nobody has
    cut or ended, which takes a moment, and a row that a lost worker left."""
    try:
        first = supervisor().desk.read(partial(_first, bell=bell))
    except LetGo:
        return
    for one in dict.fromkeys((*first, bell)):
        work(one)


def _first(session: Session, bell: Bell) -> list[Bell]:
    due = leases.waiting(session, "certification") if TASKS[bell.noun][1] == CERTIFY else None
    left = leases.abandoned(session, bell.noun)
    return [Bell(noun, row_id) for noun, row_id in (("certification", due), (bell.noun, left)) if row_id is not None]


def work(bell: Bell) -> None:
    """Work on a row, unless that is done or somebody does it, and on what is due of its certification then."""
    desk = supervisor().desk
    claim = None if desk.letting_go else desk.claim(*bell)
    if claim is None:
        return
    if bell.noun == "certification":
        cut: list[str] = []
        attempt(desk, claim, partial(shard_or_end, desk, cut=cut))
        for first in cut[:1]:
            work(Bell("shard", first))
    elif bell.noun == "shard":
        attempt(desk, claim, supervisor().certify)
        work(Bell("certification", claim.job))
    else:
        attempt(desk, claim, partial(take_in, desk))


def _task(noun: str) -> Callable[[str], None]:
    def task(row_id: str) -> None:
        answer(Bell(noun, row_id))

    return task


for _noun, (_name, _) in TASKS.items():
    app.task(name=_name)(_task(_noun))


def _log(**_: Any) -> None:
    logs.configure(SETTINGS.log_level)


def _check_secret(**_: Any) -> None:
    """A worker whose noise secret is another one would give another answer to the same question."""
    database = Database(SETTINGS.database)
    try:
        with database.write() as session:
            check_secret(session, SETTINGS)
    except WrongSecretError as error:
        sys.exit(f"radii: {error}")
    finally:
        database.close()


def _start_pool_process(**_: Any) -> None:
    supervisor()  # from now on this process hears of a shutdown


def _start_sweeper(sender: Any, **_: Any) -> None:
    sweeper = Sweeper(SETTINGS, sender)
    sweeper.start()
    signals.worker_shutting_down.connect(lambda **_: sweeper.stopping.set(), weak=False)


signals.setup_logging.connect(_log)
signals.worker_init.connect(_check_secret)
signals.worker_process_init.connect(_start_pool_process)
signals.worker_ready.connect(_start_sweeper)
