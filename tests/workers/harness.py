"""An installation for tests: real workers, and helpers that wait for what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.planning import about, apart, planned
from models.bell import Bell, celery_app, celery_ring
from models.blob_stores import stored
from models.database import Database
from models.precedence import rank
from models.principal import DEFAULT_TENANT
from models.repositories import certifications, intake, uploads
from models.settings import Settings
from models.tables import Certification, Dataset, Model
from radii.methods import parse_method
from tests import factories, rabbitmq
from workers.intake.read_dataset import read_dataset
from workers.intake.read_model import read_model

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "digits"
SECRET = "5e" * 32
on_both_brokers = pytest.mark.parametrize(
    ("empty_database_url", "broker_url"),
    [("sqlite", "redis"), ("postgresql", "redis"), ("postgresql", "rabbitmq")],
    indirect=True,
)
"""For tests in which much hangs on how a broker delivers; the others run on Redis."""
PATIENCE = 90.0  # seconds; a busy machine is slow, a broken service never arrives


def wait_for(what: Callable[[], Any], *, seconds: float = PATIENCE) -> Any:
    """The first true answer of ``what``."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)
    return found


class Service:
    """An installation: a database, blobs, a broker, and whichever workers the test starts."""

    def __init__(self, settings: Settings, broker: redis.Redis) -> None:
        self.settings = settings
        self.broker = broker
        self.blobs = stored(settings)
        self.database = Database(settings.database, ring=celery_ring(celery_app(settings)))
        self.workers: list[subprocess.Popen[bytes]] = []
        self.seen: set[psutil.Process] = set()

    def start(self, log: Path | None = None, *, code: Path = ROOT) -> subprocess.Popen[bytes]:
        """A worker for all queues, in a session of its own, like one that ``radii up`` or a terminal starts; ``log``:
        the file that its lines, and those of its children, go to; ``code``: where its modules are."""
        command = [sys.executable, "-m", "celery", "-A", "workers.main", "worker", "--queues", "intake,certify"]
        command += ["--concurrency", "1", "--without-gossip", "--without-mingle"]
        environment = {**os.environ, **self.settings.environment(), "OMP_NUM_THREADS": "1"}
        with log.open("ab") if log else nullcontext() as lines:
            worker = subprocess.Popen(command, env=environment, cwd=code, start_new_session=True, stderr=lines)
        self.workers.append(worker)
        return worker

    def forget_messages(self) -> None:
        """Have the broker lose all that it has."""
        self.broker.flushall()
        if self.settings.broker_url.startswith("amqp:"):
            rabbitmq.empty(self.settings.broker_url)

    def family(self) -> set[psutil.Process]:
        """All processes that any worker of this test ever had and that still live."""
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(worker.pid)
                self.seen |= {process, *process.children(recursive=True)}
        return {p for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE}

    def child(self, module: str) -> psutil.Process | None:
        """The process that runs ``module``, if there is one now."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                if module in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    return process
        return None

    def close(self) -> None:
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for worker in self.workers:
            worker.wait()
        self.database.close()

    def upload(self, session: Any, content: bytes) -> Any:
        """An upload whose blob exists."""
        draft = self.blobs.draft()
        draft.write_bytes(content)
        return uploads.add(session, DEFAULT_TENANT, sha256=self.blobs.adopt(draft), size=len(content))

    def add_model(self, content: bytes, **settings: Any) -> str:
        settings = {"input": factories.INPUT, "output": None, "labels": None} | settings
        with self.database.write() as session:
            upload = self.upload(session, content)
            return intake.add_model(session, upload, name="m", settings=settings, external={})[0].id

    def add_dataset(self, content: bytes) -> str:
        with self.database.write() as session:
            return intake.add_dataset(session, self.upload(session, content), name="d")[0].id

    def certify(
        self,
        model: str,
        dataset: str,
        inputs: int,
        *,
        start: int = 0,
        shard_inputs: int | None = None,
        denoiser: str | None = None,
        priority: int = 5,
        interactive: bool = False,
        key: str = "",
        **method: Any,
    ) -> str:
        parsed = parse_method(method)
        with self.database.write() as session:
            data, network = session.get_one(Dataset, dataset), session.get_one(Model, model)
            span = about(network, data, range(inputs)).span
            row = certifications.add(
                session,
                certifications.new(
                    network,
                    data,
                    denoiser=session.get(Model, denoiser) if denoiser else None,
                    method=parsed.model_dump(),
                    plan=planned(parsed, inputs),
                    indices=range(start, start + inputs),
                    cost=parsed.cost(span),
                    shard_inputs=shard_inputs or parsed.shard_inputs(span, inputs),
                    rank=rank(priority, interactive=interactive),
                    key_id=key,
                    apart=apart(parsed),
                ),
            )
            return row.id

    def get(self, table: type[Any], row_id: str) -> Any:
        with self.database.read() as session:
            return session.get(table, row_id)

    def wait(self, table: type[Any], row_id: str, *states: str) -> Any:
        """The row, once it is in one of ``states``."""
        wait_for(lambda: self.get(table, row_id).state in states)
        return self.get(table, row_id)

    def halfway(self, certification: str) -> None:
        """Until some of its samples are counted, and not all."""
        wait_for(lambda: self.get(Certification, certification).done)
        row = self.get(Certification, certification)
        assert row.state == "running" and row.done < row.total

    def ring(self, noun: str, row_id: str) -> None:
        self.database.ring(Bell(noun, row_id))

    def known_model(self, file: Path, *, tenant: str = DEFAULT_TENANT, **settings: Any) -> str:
        """The id of a model of ``tenant`` that intake has accepted already."""
        settings = {"input": factories.INPUT, "output": None, "labels": None} | settings
        found = read_model({"file": str(file), "external_data": {}, "settings": settings})
        with self.database.write() as session:
            self.upload(session, file.read_bytes())
            content = file.read_bytes()
            model = factories.ready_model(session, content=content, tenant=tenant, settings=settings, **found)
            session.info.clear()  # nothing to ring for
            return model.id

    def known_dataset(self, file: Path, *, tenant: str = DEFAULT_TENANT) -> str:
        """The id of a data set of ``tenant`` that intake has accepted already."""
        folder = self.blobs.draft()
        folder.mkdir()
        arrays: dict[str, Any] = read_dataset(file, folder, max_bytes=2**30)
        blobs: dict[str, Any] = {
            "x_blob": self.blobs.adopt(folder / "x.npy"),
            "y_blob": self.blobs.adopt(folder / "y.npy"),
        }
        with self.database.write() as session:
            content = file.name.encode()
            dataset = factories.ready_dataset(session, content=content, tenant=tenant, **arrays, **blobs)
            session.info.clear()
            return dataset.id


def stamp(connection: Connection) -> None:
    """Have a database whose tables were made at once say that it is at the newest migration."""
    context = MigrationContext.configure(connection)
    if context.get_current_revision() is None:
        context.stamp(ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml")), "head")


@contextmanager
def installation(
    data_dir: Path, database_url: str, redis_socket: Path, broker_url: str | None = None, **settings: Any
) -> Iterator[Service]:
    """An installation with short leases and no worker yet; its broker is that Redis, unless another is named."""
    settings = {"lease_seconds": 2.0, "sweep_seconds": 0.2} | settings
    broker = redis.Redis(unix_socket_path=str(redis_socket))
    broker.flushall()
    if broker_url is not None and broker_url.startswith("amqp:"):
        rabbitmq.empty(broker_url)
    installed = Settings(
        data_dir=data_dir,
        database_url=database_url,
        broker_url=broker_url or f"redis+socket://{redis_socket}",
        noise_secret=SECRET,
        **settings,
    )
    service = Service(installed, broker)
    with service.database.write() as session:
        stamp(session.connection())
    try:
        yield service
    finally:
        service.close()
        broker.close()
