"""The real service for end-to-end tests: `radii up` in a subprocess, on SQLite and on PostgreSQL."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from sqlalchemy import create_engine, text

from radii.client import Client

PATIENCE = 60.0  # seconds; far above what a condition takes, so that a busy machine is no failure

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """A service that is up and ready."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str]
    database_url: str | None = None  # None: SQLite in the data folder

    @property
    def key(self) -> str:
        """Its first API key."""
        return (self.data_dir / "api-key").read_text().strip()

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url, self.key)

    def environment(self) -> dict[str, str]:
        """What the command `radii` needs to find it."""
        return {**clean_environment(), "RADII_URL": self.url, "RADII_DATA_DIR": str(self.data_dir)}

    def family(self) -> list[psutil.Process]:
        """Every process of it."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]


def command_line(process: psutil.Process) -> str:
    """What a process was started as; nothing if it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def left(family: list[psutil.Process]) -> list[str]:
    """Command lines of those that don't end soon."""
    _, alive = psutil.wait_procs(family, timeout=10)
    return [command_line(process) for process in alive]


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of radii, and with one thread a computation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RADII_")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def start(data_dir: Path, *flags: str, port: int = 0, checkout: Path | None = None) -> Service:
    """Start a service, by default on a free port, and wait until it says that it is ready. ``checkout``: of the code to
    run, by default this one."""
    command = [sys.executable, "-m", "radii.cli", "up", "--port", str(port), "--data-dir", str(data_dir), *flags]
    environment = clean_environment() | ({} if checkout is None else {"PYTHONPATH": str(checkout)})
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=checkout
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:1] == ["API"]:
            return Service(line.split()[1], data_dir, process)
    _, errors = process.communicate()
    logs = "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in sorted(data_dir.glob("logs/*.log")))
    raise RuntimeError(f"radii up ended with {process.returncode}\n{errors}\n{logs}")


def stop(service: Service, number: int = signal.SIGTERM) -> int:
    """Send it a signal and wait until it has ended: its exit code."""
    service.process.send_signal(number)
    service.process.communicate()
    return service.process.returncode


def until(look: Callable[[], T], holds: Callable[[T], bool] = bool) -> T:
    """What ``look`` sees, once ``holds`` is true of it."""
    deadline = time.monotonic() + PATIENCE
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"still {seen} after {PATIENCE:g} seconds"
        time.sleep(0.05)
    return seen


@contextmanager
def running(data_dir: Path, *flags: str, port: int = 0, checkout: Path | None = None) -> Iterator[Service]:
    """A service, ended afterwards."""
    service = start(data_dir, *flags, port=port, checkout=checkout)
    try:
        yield service
    finally:
        stop(service)


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database."""
    server = create_engine(server_url, isolation_level="AUTOCOMMIT")
    name = f"radii_test_{secrets.token_hex(6)}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        # No test here takes the server's power away (tests/chaos has its own): nobody waits for its disk.
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    try:
        yield server.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on SQLite, then one on PostgreSQL; each the same for all tests: leave it up."""
    data_dir = tmp_path_factory.mktemp("radii") / "data"
    if request.param == "sqlite":
        with running(data_dir) as service:
            yield service
        return
    server_url = request.getfixturevalue("postgresql_server")
    with own_database(server_url) as url, running(data_dir, "--database-url", url) as service:
        yield replace(service, database_url=url)
