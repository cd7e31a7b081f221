"""Claims a second with many certifications queued, by workers that are simulated: they compute nothing, and take one
shard after the other. Of builds in turn, on SQLite and on one PostgreSQL server::

    python -m benchmarks.turns OTHER/.venv/bin/python ... [--queued 2000] [--workers 8] [--seconds 5] [--rounds 3]

Another build's Python imports its own ``models``. A claim is what a pool process does between a message and the look
at its work order: of a build that looks for whose turn it is, that; of one before it, what it looked for before every
bell, and the claim of the row that the bell names, of which some had to be cut first. Medians of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

SERVER = os.environ.get("RADII_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def prepare(url: str, queued: int) -> None:
    """Certifications of a hundred inputs each, of ten keys."""
    from models.base import Base
    from models.database import Database
    from models.repositories import certifications
    from tests import factories

    database = Database(url)
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        model, dataset = factories.ready_model(session), factories.ready_dataset(session)
        add: Any = partial(certifications.add, session)
        if hasattr(certifications, "new"):
            add = lambda *of, **it: certifications.add(session, certifications.new(*of, **it))  # noqa: E731
        for number in range(queued):
            given: dict[str, Any] = {"key_id": f"key_{number % 10}"} if hasattr(certifications, "notice_due") else {}
            if hasattr(factories, "smoothing"):
                given["plan"] = factories.smoothing(10, 100)
            add(
                model,
                dataset,
                method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 10, "n": 100},
                indices=range(100),
                cost=110,
                shard_inputs=10,
                **given,
            )


def work(url: str, place: int, workers: int, seconds: float) -> None:
    """Take shards from the moment on that stdin names, once stdout has said so; prints how many, and the longest."""
    from models.database import Database

    database = Database(url)
    claims = _claims(database, place, workers)
    next(claims)
    print("ready", flush=True)
    begin = float(input())
    time.sleep(max(0.0, begin - time.time()))
    taken, longest, since = 0, 0.0, time.perf_counter()
    while time.time() < begin + seconds:
        next(claims)
        longest, since = max(longest, time.perf_counter() - since), time.perf_counter()
        taken += 1
    print(taken, longest)


def _claims(database: Any, place: int, workers: int) -> Iterator[Any]:
    """One claim of a shard after the other, as this build's workers come to it."""
    from sqlalchemy import select

    from models import repositories
    from models.tables import Certification, Shard

    certifications: Any = import_module(f"{repositories.__name__}.certifications")  # this build's, or another's
    leases: Any = import_module(f"{repositories.__name__}.leases")
    if hasattr(certifications, "notice_due"):
        from models.repositories import turns

        while True:
            with database.read() as session:
                turns.due(session)
            with database.write() as session:
                found = turns.take(session, worker="w", device="cpu", seconds=600, shard_seconds=30)
            yield found
    cuts = hasattr(certifications, "cut")
    with database.read() as session:
        table = Certification if cuts else Shard
        bells = list(session.scalars(select(table.id).order_by(table.id)))[place::workers]
    nouns = ("certification",) if cuts else ()
    while bells:
        row_id = bells.pop(0)
        noun = "certification" if row_id.startswith("cert") else "shard"
        with database.read() as session:
            for first in nouns:
                leases.waiting(session, first)
            leases.abandoned(session, noun)
        with database.write() as session:
            claim = leases.claim(session, noun, row_id, worker="w", seconds=600)
        if noun == "certification":
            with database.write() as session:
                row_id, *others = certifications.cut(session, claim, shards=1000, seconds=600)
            bells += others  # behind those of others, as the queue has them
            with database.write() as session:
                claim = leases.claim(session, "shard", row_id, worker="w", seconds=600)
        yield claim


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """The URL of an empty database."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/radii.sqlite"
        return
    name = f"radii_benchmark_{uuid.uuid4().hex}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield str(server.url.set(database=name).render_as_string(hide_password=False))
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def measured(python: Path, kind: str, options: argparse.Namespace) -> tuple[float, float]:
    """Claims a second by the build of that interpreter, and the seconds that the slowest took."""
    root = python.parent.parent.parent
    command = [str(python), str(Path(__file__).resolve())]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with database_of(kind) as url:
        prepare = [*command, "--prepare", url, "--queued", str(options.queued)]
        subprocess.run(prepare, env=environment, cwd=root, check=True)
        work = [*command, "--work", url, "--workers", str(options.workers), "--seconds", str(options.seconds)]
        workers = [
            subprocess.Popen(
                [*work, "--place", str(place)],
                env=environment,
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for place in range(options.workers)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        begin = time.time() + 0.5
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{begin}\n")
            worker.stdin.flush()
        said = [worker.communicate()[0].split() for worker in workers]
    return sum(int(taken) for taken, _ in said) / options.seconds, max(float(longest) for _, longest in said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("others", nargs="*")
    parser.add_argument("--queued", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare")
    parser.add_argument("--work")
    parser.add_argument("--place", type=int, default=0)
    options = parser.parse_args()
    if options.prepare:
        return prepare(options.prepare, options.queued)
    if options.work:
        return work(options.work, options.place, options.workers, options.seconds)
    pythons = [*(Path(other).absolute() for other in options.others), Path(sys.executable)]
    for kind in ("postgresql", "sqlite"):
        found: dict[Path, list[tuple[float, float]]] = {python: [] for python in pythons}
        for _ in range(options.rounds):
            for python in pythons:
                found[python].append(measured(python, kind, options))
        for python, rounds in found.items():
            claims, slowest = (statistics.median(figures) for figures in zip(*rounds, strict=True))
            ratios = [new[0] / one[0] for new, one in zip(found[pythons[-1]], rounds, strict=True)]
            said = f"{claims:.0f} claims/s, the slowest of {slowest * 1000:.0f} ms"
            print(f"{kind}, {python.parent.parent.parent}: {said}; now {statistics.median(ratios):.2f} times as many")
    return None


if __name__ == "__main__":
    main()
