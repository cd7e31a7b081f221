"""A virtual host of its own on a real RabbitMQ."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kombu.exceptions import ChannelError, OperationalError

from models.bell import celery_app
from models.settings import Settings
from models.work import NOUNS

RABBITMQ = os.environ.get("RADII_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672")
QUEUES = sorted({noun.queue for noun in NOUNS.values()})


def connected(url: str) -> Any:
    """A connection to the broker at ``url``."""
    return celery_app(Settings(broker_url=url)).connection_for_write()


def control(*arguments: str) -> None:
    """What the server's own command does."""
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, stdout=subprocess.DEVNULL)


def empty(url: str) -> None:
    """Remove all messages."""
    with connected(url) as connection:
        for queue in QUEUES:
            with suppress(ChannelError), connection.channel() as channel:
                channel.queue_purge(queue)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    """URL of a virtual host that nobody else uses."""
    from tests.conftest import missing

    try:
        with connected(f"{RABBITMQ}//") as connection:
            connection.ensure_connection(max_retries=0)
        name = f"radii-test-{secrets.token_hex(4)}"
        control("add_vhost", name)
        control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    except (OSError, OperationalError, subprocess.CalledProcessError):
        missing("RabbitMQ on its standard port, with rabbitmqctl")
    yield f"{RABBITMQ}/{name}"
    control("delete_vhost", name)
