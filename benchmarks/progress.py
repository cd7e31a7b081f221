"""Progress writes a second on one certification, by workers that are simulated: they count nothing, and write as fast
as they can what a supervisor writes twice a second. Of two builds in turn, on one PostgreSQL server::

    python -m benchmarks.progress OTHER/.venv/bin/python [--workers 8] [--seconds 8] [--rounds 3]

The other build's Python imports its own ``models``. Median of the ratios of the rounds, and both figures.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from sqlalchemy import create_engine, text

SERVER = os.environ.get("RADII_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
CHUNKS = 10  # in a write
INPUTS = 1000  # of a shard


def prepare(url: str, workers: int) -> None:
    """A job with a shard for each worker; prints their ids."""
    from sqlalchemy import select

    from models.base import Base
    from models.database import Database
    from models.tables import Shard
    from tests import factories

    database = Database(url)
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        job = factories.certification(session, inputs=workers * INPUTS, cost=10 + 10**6, shard_inputs=INPUTS)
        print(*session.scalars(select(Shard.id).where(Shard.certification_id == job.id)))


def work(url: str, shard_id: str, seconds: float) -> None:
    """Write to one shard from the moment on that stdin names, once stdout has said so; prints how many writes."""
    from models.database import Database
    from models.repositories import leases, shards
    from models.repositories.chunks import ChunkCounts

    database = Database(url)
    with database.write() as session:
        claim = leases.claim(session, "shard", shard_id, worker=shard_id, seconds=600)
        assert claim is not None
        indices = shards.begin(session, claim).indices
    print("ready", flush=True)
    begin = float(input())
    time.sleep(max(0.0, begin - time.time()))
    writes = 0
    while time.time() < begin + seconds:
        index, first = indices[writes % INPUTS], CHUNKS * (writes // INPUTS)
        chunks = [ChunkCounts(index, "estimate", first + i, [900, 90, 10]) for i in range(CHUNKS)]
        with database.write() as session:
            shards.record(session, claim, chunks, [], seconds=600)
        writes += 1
    print(writes)


def measured(python: Path, workers: int, seconds: float) -> float:
    """Writes a second by the build of that interpreter."""
    name = f"radii_benchmark_{uuid.uuid4().hex}"
    server = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = str(server.url.set(database=name).render_as_string(hide_password=False))
    root = python.parent.parent.parent
    command = [str(python), str(Path(__file__).resolve())]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    try:
        made = subprocess.run(
            [*command, "--prepare", url, "--workers", str(workers)],
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        running = [
            subprocess.Popen(
                [*command, "--work", url, shard, "--seconds", str(seconds)],
                cwd=root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for shard in made.stdout.split()
        ]
        for process in running:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        begin = f"{time.time() + 1}\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write(begin)
            process.stdin.flush()
        return sum(int(process.communicate()[0]) for process in running) / seconds
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare", metavar="URL")
    parser.add_argument("--work", nargs=2)
    given = parser.parse_args()
    if given.prepare:
        prepare(given.prepare, given.workers)
    elif given.work:
        url, shard = given.work
        work(url, shard, given.seconds)
    else:
        ratios = []
        for number in range(given.rounds):
            here, there = (
                measured(python, given.workers, given.seconds)
                for python in (Path(sys.executable), given.other.absolute())
            )
            ratios.append(here / there)
            print(f"round {number}: {here:.0f} writes/s, the other build {there:.0f}: {ratios[-1]:.2f}x", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
