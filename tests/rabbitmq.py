"""A virtual host of its own on a real RabbitMQ."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from amqp.exceptions import NotFound
from kombu import Connection

from models.work import NOUNS

RABBITMQ = os.environ.get("RADII_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672")
QUEUES = sorted({noun.queue for noun in NOUNS.values()})


def control(*arguments: str) -> None:
    """What the server's own command does."""
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, stdout=subprocess.DEVNULL)


def empty(url: str) -> None:
    """Remove all messages."""
    with Connection(url) as connection:
        for queue in QUEUES:
            with suppress(NotFound), connection.channel() as channel:
                channel.queue_purge(queue)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    """URL of a virtual host that nobody else uses."""
    from tests.conftest import missing

    try:
        with Connection(f"{RABBITMQ}//", connect_timeout=3) as connection:
            connection.connect()
        name = f"radii-test-{secrets.token_hex(4)}"
        control("add_vhost", name)
        control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    except (OSError, subprocess.CalledProcessError):
        missing("RabbitMQ on its standard port, with rabbitmqctl")
    yield f"{RABBITMQ}/{name}"
    control("delete_vhost", name)
