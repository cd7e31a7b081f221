"""An installation as people run it, of real processes: two hosts with one database, one broker and one blob store."""

import shutil
import signal
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import psutil

from models.settings import Settings
from radii.client import Client
from tests.chaos.servers import Broker, Postgres, family, free_port, kill_all
from tests.chaos.stores import Folder, Store
from tests.service import clean_environment, command_line, until
from tests.workers.harness import SECRET

CODE = Path(__file__).parents[2]
ROLES = {
    "uvicorn": "API",
    "workers.runner": "runner",
    "workers.intake": "intake",
    "spawn_main": "pool process",
    "celery": "worker",
    "watchdog": "watchdog",
    "models.bootstrap": "bootstrap",
    "redis": "redis",
}


class Host:
    """One command that is started again when it ends, as systemd does."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.command, self.environment, self.log = name, command, environment, log
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def tend(self) -> None:
        """Start it again if it has ended."""
        if self.process.poll() is not None:
            self.process = self._spawn()

    def family(self) -> list[psutil.Process]:
        """Its processes that are there now."""
        return family(self.process.pid)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            kill_all(self.family())
            self.process.wait()


class Site:
    """`radii up` on one host, a worker with a clock of its own on the other."""

    def __init__(
        self,
        data_dir: Path,
        database_url: str,
        broker: Broker,
        postgres: Postgres,
        *,
        clock: bool,
        store: Store | None = None,
    ) -> None:
        self.data_dir, self.broker, self.postgres = data_dir, broker, postgres
        self.store = store or Folder(data_dir / "blobs")
        self.port = free_port()
        self.settings = Settings(
            data_dir=data_dir,
            database_url=database_url,
            broker_url=broker.url,
            blob_url=self.store.url,
            port=self.port,
            noise_secret=SECRET,
            lease_seconds=2.0,
            sweep_seconds=0.2,
            max_attempts=100,  # what is killed at random may be killed three times in a row
        )
        environment = clean_environment() | self.settings.environment() | {"PYTHONPATH": str(CODE)}
        self.logs = data_dir.parent / f"{data_dir.name}-logs"
        self.logs.mkdir()
        up = [sys.executable, "-m", "radii.cli", "up"]
        self.hosts = [Host("up", up, environment, self.logs / "up.log")]
        self.clock = self.logs / "clock"
        if clock:
            until((data_dir / "api-key").exists)  # the tables are there
            self.set_clock(0)
            worker = [sys.executable, "-m", "celery", "--quiet", "-A", "workers.main", "worker"]
            worker += ["--queues", "certify,intake", "--concurrency", "1", "-n", f"other-{self.port}@%h"]
            worker += ["--without-gossip", "--without-mingle"]
            self.hosts.append(Host("other", worker, environment | self._faked(), self.logs / "other.log"))

    def _faked(self) -> dict[str, str]:
        """What has a process take its time of day from the file ``clock``, read anew every second."""
        [library] = [file.locate() for file in files("libfaketime") or [] if file.name == "libfaketime.so.1"]
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, seconds: int) -> None:
        """Let the other host's clock be ahead of the truth by so much."""
        draft = self.clock.with_suffix(".new")
        draft.write_text(f"{seconds:+d}s\n")
        draft.replace(self.clock)

    def client(self) -> Client:
        """A patient client of the API."""
        key = until(lambda: (self.data_dir / "api-key").exists() and (self.data_dir / "api-key").read_text().strip())
        client = Client(f"http://127.0.0.1:{self.port}", str(key), patience=300, on_trouble=lambda _: None)
        client._transport._answered = True
        return client

    def tend(self) -> None:
        """Start again what has ended."""
        for host in self.hosts:
            host.tend()

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Every process of radii that is there now, with its role."""
        return [(role(process), process) for host in self.hosts for process in host.family()]

    def strays(self) -> list[str]:
        """Command lines of processes that belong to this installation, by its variables, and to no host."""
        mine = {process.pid for _, process in self.processes()}
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid not in mine and process.environ().get("RADII_DATA_DIR") == str(self.data_dir):
                    found.append(command_line(process))
            except psutil.Error:
                continue
        return found

    def stop(self) -> None:
        """End all of it."""
        for host in self.hosts:
            host.stop()

    def remove(self) -> None:
        """Its files too."""
        shutil.rmtree(self.data_dir, ignore_errors=True)


def role(process: psutil.Process) -> str:
    """What a process of radii is for, by its command line."""
    line = command_line(process)
    return next((name for part, name in ROLES.items() if part in line), "radii up")
