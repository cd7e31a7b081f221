"""`radii up`: the whole service on one machine, its parts started by module name and ended together."""

import errno
import fcntl
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import httpx

from radii.cli import redis, settings
from radii.cli.console import err, fail, out, plain
from radii.cli.processes import Child, GaveUp, Stopped, Supervisor, tail
from radii.client.connection import DEFAULT_DATA_DIR, DEFAULT_URL

TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1"}  # of onnxruntime: see radii.runtime
PATIENCE = 120.0  # seconds in which the service gets ready, on a slow and busy machine too


def up(arguments: list[str]) -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    if {"-h", "--help"} & set(arguments):
        return settings.print_help("radii up")
    chosen = settings.parse(arguments)
    if not chosen.port:
        chosen = chosen.model_copy(update={"port": _free_port(chosen.host)})
    os.umask(0o077)  # what its parts write is for our eyes alone
    with _full_disk_said(chosen.data_dir):
        settings.private_folder(chosen.data_dir)
    with _full_disk_said(chosen.data_dir), _lock(chosen.data_dir, _url(chosen)) as lock:
        _check_port(chosen.host, chosen.port)
        if chosen.database_url or chosen.broker_url:
            settings.reach(chosen, _say)
        with Supervisor(environment(chosen), say=_say, stopped=stop_signals(), keep_open=[lock]) as supervisor:
            try:
                _run(supervisor, chosen)
            except Stopped:
                _say("stopping")
            except GaveUp as error:
                fail(str(error))
    return _say("stopped")


def _run(supervisor: Supervisor, chosen: Any) -> NoReturn:
    started = time.monotonic()
    logs = chosen.data_dir / "logs"
    path = None if chosen.broker_url else chosen.redis_socket
    if path:
        settings.private_folder(path.parent)
        supervisor.start(Child("redis", redis.command(path), logs / "redis.log", last=True))
    api, *workers = _parts(chosen, logs)
    supervisor.start(api)  # importing takes it longer than bootstrap takes; until it is asked it opens no database
    bootstrap = Child("bootstrap", [sys.executable, "-m", "models.bootstrap"], logs / "bootstrap.log")
    ended = supervisor.run(bootstrap)
    if ended == os.EX_TEMPFAIL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if ended:
        fail(f"the service can't start.\n{tail(bootstrap.log)}")
    for line in bootstrap.log.read_text().splitlines():
        if line.startswith("radii: "):
            _say(line.removeprefix("radii: "))
    if path:
        supervisor.wait_for(lambda: redis.answers(path), "Redis", PATIENCE)
    for child in workers:
        supervisor.start(child)
    supervisor.wait_for(lambda: _ready(_url(chosen)), "the service", PATIENCE)
    _banner(chosen, time.monotonic() - started)
    supervisor.serve()


def _parts(chosen: Any, logs: Path) -> Iterator[Child]:
    level = chosen.log_level
    api = ["uvicorn", "app.main:create_app", "--factory", "--host", chosen.host, "--port", str(chosen.port)]
    api += [
        "--log-level",
        level.lower(),
        "--no-access-log",
        "--timeout-graceful-shutdown",
        "2",
    ]  # a request may wait a minute for a job
    yield Child("api", [sys.executable, "-m", *api], logs / "api.log")
    for queue, slots in (("intake", 1), ("certify", chosen.workers)):
        yield Child(f"{queue} worker", worker_command(queue, slots, level), logs / f"{queue}.log")


def worker_command(queue: str, slots: int, level: str) -> list[str]:
    """The command line of a worker of one queue."""
    # --quiet: a banner that can't be written, on a full disk, would end the worker.
    worker = ["celery", "--quiet", "-A", "workers.main", "worker", "--queues", queue, "--concurrency", str(slots)]
    # A name of its own, on a broker that several machines may share.
    worker += ["-n", f"{queue}-{os.getpid()}@%h", "--loglevel", level, "--without-gossip", "--without-mingle"]
    return [sys.executable, "-m", *worker]


def environment(chosen: Any) -> dict[str, str]:
    """What the parts of the service are started with."""
    code = settings.code_root()
    path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **chosen.environment(), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **TELEMETRY_OFF}


@contextmanager
def _full_disk_said(folder: Path) -> Iterator[None]:
    """On a full disk nothing starts; what runs already bears one."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"the service can't start: {folder} lies on a full disk. Free some space there, and start it again.")


@contextmanager
def _lock(folder: Path, url: str) -> Iterator[int]:
    """The lock on a data folder. It outlives a killed `radii up` by the moment its children need to end."""
    with (folder / "lock").open("a+") as file:
        deadline = time.monotonic() + 2.0
        while not _try_lock(file):
            if time.monotonic() > deadline:
                file.seek(0)
                fail(f"radii is already up on {folder} ({file.read().strip()}). Stop it, or choose another --data-dir.")
            time.sleep(0.05)
        file.truncate(0)
        with suppress(OSError):  # on a full disk; it is for people
            os.write(file.fileno(), f"process {os.getpid()}, {url}\n".encode())
        yield file.fileno()


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_port(host: str, port: int) -> None:
    try:
        _bind(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fail(f"can't listen on {host} port {port}: {error.strerror or error}. Choose another --host or --port.")
        fail(f"port {port} of {host} is taken by another program. Stop it, or choose another: radii up --port 0")


def _free_port(host: str) -> int:
    try:
        return _bind(host, 0)
    except OSError as error:
        fail(f"can't listen on {host}: {error.strerror or error}. Choose another --host.")


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        return int(listener.getsockname()[1])


def stop_signals() -> Callable[[], bool]:
    """Whether one has come."""
    # No Event: where the handler runs, the very thread that it interrupts may hold the Event's lock, for ever.
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: came.append(number))
    return lambda: bool(came)


def _ready(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5.0, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.is_success or answer.status_code == httpx.codes.INSUFFICIENT_STORAGE  # then it answers what it can


def _url(chosen: Any) -> str:
    """Where this machine reaches the API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(chosen.host, chosen.host)  # noqa: S104
    return f"http://[{host}]:{chosen.port}" if ":" in host else f"http://{host}:{chosen.port}"


def _banner(chosen: Any, seconds: float) -> None:
    url = _url(chosen)
    out.print(f"radii is ready ({seconds:.1f} s)", style="bold green")
    for name, value in (
        ("API", url),
        ("docs", f"{url}/docs"),
        ("API key", f"in {chosen.key_file}"),
        ("logs", f"in {chosen.data_dir / 'logs'}"),
        ("try", f"{_exported(chosen, url)}radii certify MODEL.onnx DATA.npz --sigma 0.25"),
        ("stop", "Ctrl-C"),
    ):
        out.print(f"  [bold]{name:8}[/] {plain(value)}", soft_wrap=True)


def _exported(chosen: Any, url: str) -> str:
    """What another terminal must set, for all commands to come, so that they find this service and its key."""
    variables = {}
    if url != DEFAULT_URL:
        variables["RADII_URL"] = url
    if chosen.data_dir != Path(DEFAULT_DATA_DIR).expanduser():
        variables["RADII_DATA_DIR"] = str(chosen.data_dir)
    set_to = "".join(f" {name}={shlex.quote(value)}" for name, value in variables.items())
    return f"export{set_to}; " if set_to else ""


def _say(message: str) -> None:
    with suppress(OSError):  # a file on a full disk, or a terminal that is gone
        err.print(f"radii: {plain(message)}", soft_wrap=True)
