"""The Celery application: ``python -m celery -A workers.main worker --queues certify``.

A pool process answers a bell by claiming its row; a row that has ended, or that somebody works on, is left alone. The
main process sweeps (``workers.sweeper``), tidies up (``workers.tidier``) and passes a shutdown on. Pool processes are
spawned, not forked: the main process has threads and connections that a fork would copy in an unknown state.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from celery import signals

from models import versions
from models.bell import Bell, celery_app, celery_ring
from models.bootstrap import WrongSecretError, check_secret
from models.database import Database
from models.settings import Settings
from models.work import NOUNS
from workers import logs
from workers.answer import answer
from workers.sweeper import Sweeper
from workers.tidier import Tidier
from workers.worker import Worker

SETTINGS = Settings()

app = celery_app(SETTINGS)
app.conf.update(include=["workers.main"], worker_pool_start_method="spawn")


@functools.cache
def worker() -> Worker:
    """This pool process's."""
    return Worker(SETTINGS, celery_ring(app))


def _task(noun: str) -> Callable[[str], None]:
    def task(row_id: str) -> None:
        answer(worker(), Bell(noun, row_id))

    return task


for _noun in NOUNS.values():
    app.task(name=_noun.task)(_task(_noun.name))


def _log(**_: Any) -> None:
    logs.configure(SETTINGS.log_level)


def _check_installation(**_: Any) -> None:
    """A worker whose noise secret is another one would give another answer to the same question; one of a version that
    the database does not bear would fail at each."""
    database = Database(SETTINGS.database)
    try:
        with database.write() as session:
            versions.check(session.connection())
            check_secret(session, SETTINGS)
    except (WrongSecretError, versions.OtherVersion) as error:
        sys.exit(f"radii: {error}")
    finally:
        database.close()


def _start_pool_process(**_: Any) -> None:
    worker()  # from now on this process hears of a shutdown


def _start_sweeper(sender: Any, **_: Any) -> None:
    threads = Sweeper(SETTINGS, sender), Tidier(SETTINGS)
    for thread in threads:
        thread.start()
        signals.worker_shutting_down.connect(lambda thread=thread, **_: thread.stopping.set(), weak=False)


signals.setup_logging.connect(_log)
signals.worker_init.connect(_check_installation)
signals.worker_process_init.connect(_start_pool_process)
signals.worker_ready.connect(_start_sweeper)
