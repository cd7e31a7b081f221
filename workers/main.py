"""The Celery application: ``python -m celery -A workers.main worker --queues certify``.

A pool process answers a bell by claiming its row; a row that has ended, or that somebody works on, is left alone. The
main process sweeps (``workers.sweeper``), tidies up (``workers.tidier``) and passes a shutdown on. Pool processes are
spawned, not forked: the main process has threads and connections that a fork would copy in an unknown state.
"""

import functools
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from celery import Task, signals

from models import logs, tracing
from models.bell import Bell, celery_app, celery_ring
from models.bootstrap import WrongSecretError, join, say
from models.installation import OtherStore
from models.reachable import Unreachable
from models.settings import from_environment
from models.versions import OtherVersion
from models.work import CERTIFY, INTAKE, NOUNS
from workers.answer import answer
from workers.presence import Presence
from workers.sweeper import Sweeper
from workers.tidier import Tidier
from workers.worker import Worker

SETTINGS = from_environment()
QUEUES = "WORKER_QUEUES"
"""Variable by which a main process tells its pool processes, which are spawned, what they are for."""
WARM = {INTAKE: "workers.warm:intake", CERTIFY: "workers.warm:certify"}
"""What has a pool process ready before the first bell: functions of its worker."""

logs.configure(SETTINGS.log_level, SETTINGS.log_format)  # before Celery warns of anything

app = celery_app(SETTINGS)
app.conf.update(include=["workers.main"], worker_pool_start_method="spawn")


@functools.cache
def worker() -> Worker:
    """This pool process's."""
    return Worker(SETTINGS, celery_ring(app))


def _task(noun: str) -> Callable[[Task, str], None]:
    def task(self: Task, row_id: str) -> None:
        answer(worker(), Bell(noun, row_id, (self.request.headers or {}).get(tracing.HEADER)))

    return task


for _noun in NOUNS.values():
    app.task(name=_noun.task, bind=True)(_task(_noun.name))


def _log(**_: Any) -> None:
    """Again: Celery has just set up billiard's logger in its own way, and without a receiver would all others."""
    logs.configure(SETTINGS.log_level, SETTINGS.log_format)


def _check_installation(**_: Any) -> None:
    """A worker whose noise secret is another one would give another answer to the same question; one of a version that
    the database does not bear would fail at each, and one with another blob store would find nothing there. (Celery
    goes on after what it calls raises, but for an exit.)"""
    try:
        join(SETTINGS, say)
    except (WrongSecretError, OtherVersion, OtherStore, Unreachable) as error:
        sys.exit(f"radii: {error}")


def _tell_queues(instance: Any, **_: Any) -> None:
    """Until pool processes have set up their log, billiard would write lines of its own form."""
    os.environ["_MP_FORK_LOGLEVEL_"] = ""
    os.environ[QUEUES] = " ".join(instance.app.amqp.queues.consume_from)


@functools.cache
def presence() -> Presence:
    """This pool process's."""
    here, queues = worker(), os.environ[QUEUES].split()
    return Presence(here.name, here.activity, here.database, queues, lease_seconds=SETTINGS.lease_seconds)


def _start_pool_process(**_: Any) -> None:
    mine = worker()  # from now on this process hears of a shutdown
    presence().start()
    tracing.configure("radii-worker")
    for queue in os.environ.get(QUEUES, "").split():
        pkgutil.resolve_name(WARM[queue])(mine)


def _end_pool_process(**_: Any) -> None:
    presence().leave()
    tracing.close()


def _start_sweeper(sender: Any, **_: Any) -> None:
    threads = Sweeper(SETTINGS, sender), Tidier(SETTINGS)
    for thread in threads:
        thread.start()
        signals.worker_shutting_down.connect(lambda thread=thread, **_: thread.stopping.set(), weak=False)


signals.setup_logging.connect(_log)
signals.worker_init.connect(_check_installation)
signals.celeryd_after_setup.connect(_tell_queues)
signals.worker_process_init.connect(_start_pool_process)
signals.worker_process_shutdown.connect(_end_pool_process)
signals.worker_ready.connect(_start_sweeper)
