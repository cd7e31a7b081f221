"""Rings again for work whose bell was lost, and tells the pool about a shutdown: one thread in each Celery process."""

import logging
import os
import threading
import time
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.exceptions import ChannelError

from models.bell import celery_ring
from models.database import Database
from models.repositories import certifications, leases
from models.settings import Settings
from models.work import CERTIFY, NOUNS
from workers.worker import LET_GO

log = logging.getLogger(__name__)


class Sweeper(threading.Thread):
    """Every ``sweep_seconds``, for each queue served here: if it is *empty*, ring for all rows that nobody works on.

    Why only then: while messages wait, every slot has something to do and will look for abandoned rows of its own
    (``workers.main``), and ringing for what already waits would grow the queue without end. Once the queue is empty, a
    row that nobody works on has lost its bell. So a queue holds at most what the API rang plus one sweep.
    """

    def __init__(self, settings: Settings, consumer: Any) -> None:
        super().__init__(name="sweeper", daemon=True)
        self.settings = settings
        self.consumer = consumer
        self.stopping = threading.Event()

    def run(self) -> None:
        app: Celery = self.consumer.app
        database = Database(self.settings.database, ring=celery_ring(app))
        while True:
            try:
                sweep(app, database, set(app.amqp.queues.consume_from))
            except Exception as error:  # database or broker away for a while; without a sweeper lost work stays lost
                log.warning("could not look for work that nobody does (%s); trying again", error)
            if self.stopping.wait(self.settings.sweep_seconds):
                break
        pool = self.consumer.pool.info["processes"]
        while True:  # again and again: a process that has just started may not have listened the first time
            for pid in pool:
                with suppress(ProcessLookupError):
                    os.kill(pid, LET_GO)
            time.sleep(0.2)


def sweep(app: Celery, database: Database, queues: set[str]) -> None:
    """Ring for everything in the ``queues`` that are empty."""
    with app.connection_for_write() as connection:
        idle = {queue for queue in queues if waiting(connection, queue) == 0}
    if not idle:
        return
    if CERTIFY in idle:
        with database.write() as session:
            certifications.notice_due(session)
    with database.read() as session:
        bells = [bell for bell in leases.unattended(session) if NOUNS[bell.noun].queue in idle]
    for bell in bells:
        database.ring(bell)


def waiting(connection: Any, queue: str) -> int:
    """Messages in a queue, those that a worker holds not counted."""
    try:
        with connection.channel() as channel:  # which RabbitMQ closes if there is no such queue
            return int(channel.queue_declare(queue, passive=True).message_count)
    except ChannelError:  # Redis has no empty lists
        return 0
