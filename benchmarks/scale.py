"""Many GPU workers on one job, simulated: shards are claimed and cut by the service's own statements on a real
database, and computing them is a number of seconds on a clock that is turned::

    python -m benchmarks.scale [--workers 64] [--inputs 20000] [--database URL]

Seconds of an input and their spread are given (--seconds, --spread: of the logarithm), as are the seconds that a shard
costs besides (--besides). Prints how busy the workers are, how much of the makespan is the tail, in which some worker
has nothing to do any more, how many operations a second database and broker have to bear, and beside them how many
claims a second this database bears.
"""

import argparse
import heapq
import math
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete, update

from models.base import Base
from models.database import Database
from models.repositories import certifications, paces, turns
from models.repositories.leases import Claim
from models.settings import Settings
from models.states import JobState
from models.tables import Certification, Shard
from tests import factories
from tests.service import own_database

DEVICE = "gpu"
FOR_EVER = 1e8  # seconds of a lease: the clock that is turned is not the database's
COST = 100_100  # samples of an input
PER_SHARD = 4  # transactions: it is claimed, begun and ended, and answers are looked up
WRITES = 2.0  # a second of progress, by a busy worker: once in supervisor.WRITE_SECONDS


@contextmanager
def job(url: str, inputs: int) -> Iterator[tuple[Database, str]]:
    """A database with one certification of so many inputs."""
    database = Database(url)
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        row = certifications.add(
            session,
            certifications.new(
                factories.ready_model(session),
                factories.ready_dataset(session, count=inputs),
                method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 100, "n": COST - 100},
                plan=factories.smoothing(100, COST - 100),
                indices=range(inputs),
                cost=COST,
                shard_inputs=1,
            ),
        )
        row_id = row.id
    try:
        yield database, row_id
    finally:
        database.close()


def take(database: Database, worker: str, seconds: float) -> tuple[Claim, int] | None:
    """A shard, and how many inputs it holds."""
    with database.write() as session:
        claim = turns.take(session, worker=worker, device=DEVICE, seconds=FOR_EVER, shard_seconds=seconds)
        if claim is None:
            return None
        shard = session.get_one(Shard, claim.id)
        return claim, shard.stop - shard.start


def end(database: Database, claim: Claim, inputs: int, seconds: float) -> None:
    """End a shard that took so long, without results, which nothing here asks for."""
    with database.write() as session:
        ended = update(Shard).where(Shard.id == claim.id).values(state=JobState.SUCCEEDED, lease_expires_at=None)
        session.execute(ended)
        paces.learn(session, session.get_one(Certification, claim.job), DEVICE, inputs * COST / seconds)


def simulate(database: Database, given: argparse.Namespace, shard_seconds: float) -> dict[str, float]:
    """Until nothing is left: the figures."""
    drawn = random.Random(given.seed)
    ready = [(0.0, worker) for worker in range(given.workers)]
    under_way: dict[int, tuple[Claim, int, float]] = {}
    heapq.heapify(ready)
    busy, shards, idle_from, over = 0.0, 0, math.inf, 0.0
    while ready:
        moment, worker = heapq.heappop(ready)
        if worker in under_way:
            claim, inputs, took = under_way.pop(worker)
            end(database, claim, inputs, took)
            over = max(over, moment)
        found = take(database, str(worker), shard_seconds)
        if found is None:
            idle_from = min(idle_from, moment)
            continue
        claim, inputs = found
        took = sum(given.seconds * drawn.lognormvariate(0.0, given.spread) for _ in range(inputs))
        busy, shards = busy + took, shards + 1
        under_way[worker] = claim, inputs, took
        heapq.heappush(ready, (moment + given.besides + took, worker))
    return {
        "makespan": over,
        "busy": busy / (given.workers * over),
        "tail": (over - idle_from) / over,
        "shards": shards,
    }


def claims_a_second(database: Database, job_id: str, seconds: float = 3.0) -> float:
    """How many shards one process takes, from a job that is never out of them."""
    with database.write() as session:
        session.execute(delete(Shard))
        session.execute(update(Certification).where(Certification.id == job_id).values(unsharded=10**6, stop=10**6))
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        take(database, "w", 0.001)
        count += 1
    return count / (time.perf_counter() - begun)


def measure(url: str, given: argparse.Namespace) -> None:
    """Print the figures of one simulation, and what the database bears."""
    with job(url, given.inputs) as (database, job_id):
        said = simulate(database, given, Settings().shard_seconds)
        ceiling = claims_a_second(database, job_id)
    a_second = said["shards"] / said["makespan"]
    needed = PER_SHARD * a_second + WRITES * given.workers * said["busy"]
    print(f"{given.workers} workers, {given.inputs} inputs of {given.seconds:g} s: makespan {said['makespan']:.0f} s,")
    print(f"  busy {said['busy']:.1%}, tail {said['tail']:.1%}, {said['shards']:.0f} shards")
    print(f"  needs {a_second:.2f} claims and messages, and {needed:.0f} transactions, a second")
    print(f"  one process takes {ceiling:.0f} shards a second here ({database.engine.dialect.name})")


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.5, help="of an input on one worker, on average")
    parser.add_argument("--spread", type=float, default=0.2)
    parser.add_argument("--besides", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="of a PostgreSQL server, on which one is made; unset: SQLite")
    given = parser.parse_args()
    if given.database:
        with own_database(given.database) as url:
            measure(url, given)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(f"sqlite:///{Path(folder) / 'radii.sqlite'}", given)


if __name__ == "__main__":
    main()
