"""What may befall an installation. Each fault leaves it able to go on: what was taken away is given back."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil
import redis
from sqlalchemy import select

from models.bell import Bell, celery_app, celery_ring
from models.database import Database
from models.work import NOUNS
from tests.chaos.site import Site
from tests.disk import Disk

Pause = Callable[[float], object]


class Faults:
    """Draws faults and lets them happen, until it is told to stop or has done ``count``."""

    def __init__(self, site: Site, *, seed: int, count: int, between: float, longest: float, disk: Disk | None) -> None:
        self.site, self.disk = site, disk
        self.drawn = random.Random(seed)
        self.count, self.between, self.longest = count, between, longest  # seconds, on average and at most
        self.happened: Counter[str] = Counter()
        self.stopping = threading.Event()
        # Random moments are what this is about, so here time itself is waited for.
        self.pause: Pause = self.stopping.wait

    def run(self) -> None:
        """Faults at random moments; then everything is as it should be."""
        kinds: list[tuple[int, Callable[[], None]]] = [
            (12, self.process),
            (2, self.redis_killed),
            (2, self.postgresql_killed),
            (1, self.redis_flushed),
            (1, self.redis_away),
            (2, self.duplicates),
            (1, self.clock),
            *([(1, self.disk_full)] if self.disk else []),
        ]
        weights = [weight for weight, _ in kinds]
        while sum(self.happened.values()) < self.count and not self.stopping.is_set():
            self.pause(self.drawn.expovariate(1 / self.between))
            [(_, fault)] = self.drawn.choices(kinds, weights)
            fault()
            self.site.tend()
        self.site.set_clock(0)

    def _moment(self) -> float:
        return self.drawn.uniform(0.1, self.longest)

    def process(self) -> None:
        """kill -9 of any process of radii."""
        found = self.site.processes()
        if not found:
            return
        role, process = self.drawn.choice(found)
        with suppress(psutil.NoSuchProcess):
            process.kill()
            self.happened[f"{role} killed"] += 1

    def redis_killed(self) -> None:
        """kill -9 of Redis, and all messages with it."""
        self.site.broker.kill()
        self.site.broker.start()
        self.happened["Redis killed"] += 1

    def redis_away(self) -> None:
        """Redis is away for a while."""
        self.site.broker.kill()
        self.pause(2 * self._moment())
        self.site.broker.start()
        self.happened["Redis away"] += 1

    def redis_flushed(self) -> None:
        """Redis forgets everything."""
        with self.site.broker.client() as client, suppress(redis.RedisError):
            client.flushall()
            self.happened["Redis flushed"] += 1

    def postgresql_killed(self) -> None:
        """kill -9 of PostgreSQL, all its processes."""
        self.site.postgres.kill()
        self.pause(self._moment() / 2)
        self.site.postgres.start()
        self.happened["PostgreSQL killed"] += 1

    def duplicates(self) -> None:
        """Every message comes twice more, also of what has ended."""
        app = celery_app(self.site.settings)
        database = Database(self.site.settings.database)
        try:
            ring = celery_ring(app)
            with database.read() as session:
                bells = [
                    Bell(noun, row) for noun, kind in NOUNS.items() for row in session.scalars(select(kind.table.id))
                ]
            for bell in self.drawn.choices(bells, k=min(len(bells), 100)) if bells else []:
                ring(bell)
                ring(bell)
            self.happened["messages delivered again"] += 1
        finally:
            database.close()
            app.close()

    def clock(self) -> None:
        """The other host's clock jumps, forward or back."""
        self.site.set_clock(self.drawn.choice([-3600, -30, -5, 0, 5, 30, 3600]))
        self.happened["clock jumped"] += 1

    def disk_full(self) -> None:
        """The disk of blobs and logs is full."""
        assert self.disk is not None
        self.disk.fill()
        self.pause(self._moment())
        self.disk.empty()
        self.happened["disk full"] += 1
