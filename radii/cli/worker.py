"""`radii worker`: a worker for a service that is up elsewhere, which it joins by its settings alone."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radii.cli import settings
from radii.cli.console import err, fail, plain
from radii.cli.processes import Child, GaveUp, Stopped, Supervisor
from radii.cli.up import environment, stop_signals, worker_command

QUEUES = ("intake", "certify")


def worker(queues: str, slots: int | None) -> None:
    """Work until Ctrl-C or SIGTERM, after which what is begun is given back within ten seconds."""
    named = [name.strip() for name in queues.split(",")]
    if set(named) - set(QUEUES) or len(set(named)) < len(named):
        fail(f"--queues {queues!r}: name {' or '.join(QUEUES)}, or both with a comma between", code=2)
    chosen = settings.parse([] if slots is None else ["--workers", str(slots)])
    for name, value in (("RADII_DATABASE_URL", chosen.database_url), ("RADII_BROKER_URL", chosen.broker_url)):
        if not value:
            fail(f"{name} is unset: name the service's database and broker (docs/operations.md)", code=2)
    os.umask(0o077)
    settings.private_folder(chosen.data_dir)
    settings.join(chosen, _say)
    with Supervisor(environment(chosen), say=_say, stopped=stop_signals()) as supervisor:
        try:
            for child in _children(named, chosen, chosen.data_dir / "logs"):
                supervisor.start(child)
            _say(f"working on {' and '.join(named)}; logs in {chosen.data_dir / 'logs'}")
            supervisor.serve()
        except Stopped:
            _say("stopping")
        except GaveUp as error:
            fail(str(error))
    _say("stopped")


def _children(queues: list[str], chosen: Any, logs: Path) -> Iterator[Child]:
    for queue in queues:
        slots = chosen.workers if queue == "certify" else 1
        command = worker_command(queue, slots, chosen.log_level)
        yield Child(f"{queue} worker", command, logs / f"{queue}-{os.getpid()}.log")


def _say(message: str) -> None:
    err.print(f"radii: {plain(message)}", soft_wrap=True)
