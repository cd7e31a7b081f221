"""The doorbell: a Celery message that carries an id, and a trace where there is one. The row is the job; a lost message
loses nothing (the sweeper rings again), one that comes twice does nothing (the claim decides)."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError

from models.broker import transport
from models.settings import Settings
from models.tracing import HEADER
from models.work import NOUNS

log = logging.getLogger(__name__)

QUIET = 2.0  # seconds


class Bell(NamedTuple):
    """What to ring: a noun of ``models.work`` and the id of the row."""

    noun: str
    id: str
    traceparent: str | None = None  # what rang it, where that is traced


Ring = Callable[[Bell], None]


def celery_app(settings: Settings) -> Celery:
    """The Celery application, the same for those who ring and those who answer."""
    app = Celery("radii", set_as_current=False)
    app.conf.update(
        **transport(settings.broker),
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_reject_on_worker_lost=False,  # the row's lease brings the work back; rejecting loops for ever on poison
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60.0,  # a pool process imports all it needs first, which takes a busy machine a while
        worker_soft_shutdown_timeout=10.0,
        worker_enable_soft_shutdown_on_idle=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker outlives a broker that is away for hours,
        broker_channel_error_retry=True,  # and one that answers and refuses, as Redis does whose disk or memory is full
        broker_connection_timeout=2.0,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def celery_ring(app: Celery) -> Ring:
    """A ring that sends a message, and only logs when the broker can't be reached: the sweeper will ring again.

    After a failure it is silent for ``QUIET`` seconds: a thousand bells must not wait for a thousand time-outs.
    """
    quiet_until = 0.0

    def ring(bell: Bell) -> None:
        nonlocal quiet_until
        if time.monotonic() < quiet_until:
            return
        noun = NOUNS[bell.noun]
        try:
            headers = {HEADER: bell.traceparent} if bell.traceparent else None
            app.send_task(noun.task, args=[bell.id], queue=noun.queue, retry=False, headers=headers)
        except OperationalError as error:
            quiet_until = time.monotonic() + QUIET
            log.warning("could not ring for %s %s (%s); the sweeper will", bell.noun, bell.id, error)

    return ring


def silent(bell: Bell) -> None:
    """A ring that nobody hears: for processes that only read, and for tests that call the workers themselves."""
