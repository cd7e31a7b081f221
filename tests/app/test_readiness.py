"""/readyz where a server is frozen: it takes connections, and never answers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Client

from models.settings import Settings
from tests.app.calls import problem
from tests.chaos.servers import Redis

PROBES_WAIT = 5  # seconds, in docker-compose.yml and in deploy/kubernetes


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that may be stopped."""
    server = Redis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def settings(settings: Settings, broker: Redis) -> Settings:
    return settings.model_copy(update={"broker_url": broker.url})


def test_a_frozen_broker_is_said_before_probes_give_up(anonymous: Client, broker: Redis) -> None:
    def said() -> str:
        parts = problem(anonymous.get("/readyz", timeout=PROBES_WAIT), 503, "unavailable")["parts"]  # not migrated
        assert parts["blobs"] == "ok"
        return str(parts["broker"])

    assert said() == "ok"
    broker.process.send_signal(signal.SIGSTOP)
    assert said() == "not reachable"
    broker.process.send_signal(signal.SIGCONT)
    assert said() == "ok"
