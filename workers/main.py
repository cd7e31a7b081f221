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

from models.bell import TASKS, celery_app, celery_ring
from models.bootstrap import WrongSecretError, check_secret
from models.database import Database
from models.repositories import leases
from models.settings import Settings
from workers import logs
from workers.attempt import attempt
from workers.desk import Desk, LetGo
from workers.intake import take_in
from workers.supervisor import Supervisor
from workers.sweeper import Sweeper

SETTINGS = Settings()

app = celery_app(SETTINGS)
app.conf.update(include=["workers.main"], worker_pool_start_method="spawn")


@functools.cache
def supervisor() -> Supervisor:
    """This pool process's."""
    return Supervisor(Desk(SETTINGS, celery_ring(app)))


def answer(noun: str, row_id: str) -> None:
    """Work on the row that the bell is about, after one that a lost worker left (it has waited for longer)."""
    desk = supervisor().desk
    try:
        abandoned = desk.read(partial(leases.abandoned, noun=noun))
    except LetGo:
        return
    for candidate in filter(None, dict.fromkeys((abandoned, row_id))):
        if desk.letting_go:
            return
        claim = desk.claim(noun, candidate)
        if claim is None:
            continue
        attempt(desk, claim, supervisor().certify if noun == "shard" else partial(take_in, desk))


def _task(noun: str) -> Callable[[str], None]:
    def task(row_id: str) -> None:
        answer(noun, row_id)

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
