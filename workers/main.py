"""The Celery application: ``python -m celery -A workers.main worker --queues certify``.

A pool process answers a bell by claiming its row; a row that has ended, or that somebody works on, is left alone. The
main process sweeps (``workers.sweeper``) and passes a shutdown on. Pool processes are spawned, not forked: the main
process has threads and connections that a fork would copy in an unknown state.
"""

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

from celery import signals

from models.bell import CERTIFY, TASKS, Bell, celery_app, celery_ring
from models.bootstrap import WrongSecretError, check_secret
from models.database import Database
from models.repositories import leases, shards
from models.settings import Settings
from workers.desk import Desk
from workers.intake import take_in
from workers.planning import plan_or_end
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
    planned or ended, which takes a moment, and a row that a lost worker left."""
    waiting = []
    with supervisor().desk.database.read() as session:
        if TASKS[bell.noun][1] == CERTIFY:
            waiting.append(("certification", leases.waiting(session, "certification")))
        waiting.append((bell.noun, leases.abandoned(session, bell.noun)))
    for longer in dict.fromkeys((*(Bell(noun, row_id) for noun, row_id in waiting if row_id), bell)):
        work(longer)


def work(bell: Bell) -> None:
    """Work on a row, unless that is done or somebody does it, and on what is due of its certification then."""
    desk = supervisor().desk
    claim = None if desk.letting_go else desk.claim(*bell)
    if claim is None:
        return
    if bell.noun == "certification":
        first = plan_or_end(desk, claim)
        if first is not None:
            work(Bell("shard", first))
    elif bell.noun == "shard":
        supervisor().certify(claim)
        with desk.database.read() as session:
            job = shards.certification_of(session, bell.id)
        if job is not None:
            work(Bell("certification", job))
    else:
        take_in(desk, claim)


def _task(noun: str) -> Callable[[str], None]:
    def task(row_id: str) -> None:
        answer(Bell(noun, row_id))

    return task


for _noun, (_name, _) in TASKS.items():
    app.task(name=_name)(_task(_noun))


def _log(**_: Any) -> None:
    logging.basicConfig(level=SETTINGS.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


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
