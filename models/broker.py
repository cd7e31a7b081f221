"""What Celery is told of a broker, by its URL alone: Redis, Redis behind Sentinels, or RabbitMQ.

A message is a bell (``models.bell``), so nothing here has to keep one from being lost.
"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import kombu.connection as kombu_connection
import kombu.entity as kombu_entity
from amqp.exceptions import AMQPError  # type: ignore[import-untyped]
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.retry import Retry

from models.work import NOUNS

entity: Any = kombu_entity  # which has no types
Connection: Any = kombu_connection.Connection

MASTER = "mymaster"  # as Sentinel's own examples call it
# RabbitMQ closes the channel of a consumer that leaves a message unacknowledged for longer, 30 minutes by default. One
# that waits in a worker for a slot is; each is acknowledged when its work begins. (Known from RabbitMQ 3.12 on; before,
# consumer_timeout in rabbitmq.conf.)
CONSUMER_TIMEOUT = 7 * 24 * 3600 * 1000  # milliseconds

ASK_SECONDS = 1.0  # in which a broker that is there answers


class Away(Exception):
    """The broker does not answer."""


class Refused(Exception):
    """The broker answers, and refuses: a password, a virtual host, messages while its disk is full."""


def ask(url: str) -> None:
    """Return if the broker at ``url`` lets us in and takes messages. Raises ``Away`` and ``Refused``, after about
    ``ASK_SECONDS`` at most, though a host that is frozen still takes connections."""
    known = transport(url)
    bounds = {"socket_connect_timeout": ASK_SECONDS, "socket_timeout": ASK_SECONDS}
    options = known["broker_transport_options"]
    if not url.startswith("amqp"):
        options |= bounds
    if url.startswith("sentinel:"):  # each of which would be asked again and again
        options["sentinel_kwargs"] = options.get("sentinel_kwargs", {}) | bounds | {"retry": Retry(NoBackoff(), 0)}
    try:
        with Connection(known["broker_url"], transport_options=options, connect_timeout=ASK_SECONDS) as connection:
            connection.ensure_connection(max_retries=0, timeout=1)
    except AMQPError as error:
        raise Refused(error.reply_text or error) from error
    except OperationalError as error:
        refused = isinstance(error.__cause__, AuthenticationError | ResponseError)
        said = str(error).partition(" : <")[0]  # of Sentinels; behind it is the client's own state
        raise (Refused if refused else Away)(said) from error


def transport(url: str) -> dict[str, Any]:
    """The configuration of Celery for the broker at ``url``."""
    if url.startswith(("amqp:", "amqps:")):
        return _rabbitmq(url)
    options: dict[str, Any] = {
        "visibility_timeout": 86_400,  # above the longest shard; the sweeper is what brings work back
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 2.0,
        "socket_timeout": 10.0,
        "max_retries": 0,  # of a connection that a ring opens; the worker's own has its settings in models.bell
    }
    if url.startswith("sentinel:"):
        url, named = _without_query(url)
        options["master_name"] = named.get("master_name", MASTER)
        if "sentinel_password" in named:
            options["sentinel_kwargs"] = {"password": named["sentinel_password"]}
    return {"broker_url": url, "task_acks_late": True, "broker_transport_options": options}


def _rabbitmq(url: str) -> dict[str, Any]:
    """Acknowledged early: a message that is not would be delivered again after ``CONSUMER_TIMEOUT``, and its channel
    closed. Classic queues, whose prefetch Celery may change, and which survive the broker's restart."""
    arguments = {"x-queue-type": "classic", "x-consumer-timeout": CONSUMER_TIMEOUT}
    queues = [
        entity.Queue(name, entity.Exchange(name), routing_key=name, durable=True, queue_arguments=arguments)
        for name in sorted({noun.queue for noun in NOUNS.values()})
    ]
    return {
        "broker_url": url,
        "task_acks_late": False,
        "task_queues": queues,
        "broker_transport_options": {"max_retries": 0, "confirm_publish": True},
    }


def _without_query(url: str) -> tuple[str, dict[str, str]]:
    """The URL of Sentinels, several of them joined by ";", and what stands behind its question mark, which kombu would
    take for a part of the database's number."""
    *others, last = url.split(";")
    parts = urlsplit(last)
    return ";".join([*others, urlunsplit(parts._replace(query=""))]), dict(parse_qsl(parts.query))
