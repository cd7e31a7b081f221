"""The real application behind a real server, on both databases; the broker is a port where nobody listens."""

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from models.bell import Bell
from models.database import Database
from models.principal import DEFAULT_TENANT
from models.repositories import keys
from models.settings import Settings

KEY = "radii_test-key"


class Server(uvicorn.Server):
    """Uvicorn on a thread; ``ready`` is set once it listens."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, log_config=None))
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})


@pytest.fixture
def app(settings: Settings, bells: list[Bell]) -> FastAPI:
    """The application; its bells land in ``bells``."""
    app = create_app(settings)
    app.state.service.database._database.ring = bells.append
    return app


@pytest.fixture
def database(app: FastAPI) -> Database:
    """The database of the application, as workers have it."""
    database: Database = app.state.service.database._database
    return database


@pytest.fixture
def anonymous(app: FastAPI, database: Database) -> Iterator[httpx.Client]:
    """A client without a key."""
    with database.write() as session:
        keys.add(session, DEFAULT_TENANT, "test", KEY)
    # asyncio turns off Nagle's algorithm, which costs each answer 40 ms, only where a socket names its protocol;
    # verify=False: no certificates are read for http.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert server.ready.wait(30)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30, verify=False) as client:
            yield client
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def client(anonymous: httpx.Client) -> httpx.Client:
    """A client with a key."""
    anonymous.headers["Authorization"] = f"Bearer {KEY}"
    return anonymous
