"""What may befall an installation. Each fault leaves it able to go on: what was taken away is given back."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil
from sqlalchemy import select

from models.bell import Bell, celery_app, celery_ring
from models.database import Database
from models.work import NOUNS
from tests.chaos.site import Site
from tests.disk import Disk

Pause = Callable[[float], object]
WEIGHTS = {
    "process": 12,
    "broker_killed": 2,
    "postgresql_killed": 2,
    "broker_flushed": 1,
    "broker_away": 1,
    "duplicates": 2,
    "clock": 1,
    "disk_full": 1,
    "store_away": 1,
}
"""How often each fault happens, by its method here."""


class Faults:
    """Lets ``count`` faults happen, about: of each of ``kinds`` its share, but one at least, in an order that is
    drawn."""

    def __init__(
        self, site: Site, disk: Disk, *, seed: int, kinds: Iterable[str], count: int, between: float, longest: float
    ) -> None:
        self.site, self.disk = site, disk
        self.drawn = random.Random(seed)
        self.between, self.longest = between, longest  # seconds, on average and at most
        weights = {kind: WEIGHTS[kind] for kind in kinds}
        share = count / sum(weights.values())
        self.due = [kind for kind, weight in weights.items() for _ in range(max(1, round(weight * share)))]
        self.drawn.shuffle(self.due)
        self.happened: Counter[str] = Counter()
        self.stopping = threading.Event()
        # Random moments are what this is about, so here time itself is waited for.
        self.pause: Pause = self.stopping.wait

    def run(self) -> None:
        """Faults at random moments; then everything is as it should be."""
        for kind in self.due:
            if self.stopping.wait(self.drawn.expovariate(1 / self.between)):
                break
            getattr(self, kind)()
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

    def broker_killed(self) -> None:
        """kill -9 of the broker; of Redis, all messages with it."""
        self.site.broker.kill()
        self.site.broker.start()
        self.happened[f"{self.site.broker.name} killed"] += 1

    def broker_away(self) -> None:
        """The broker is away for a while."""
        self.site.broker.kill()
        self.pause(2 * self._moment())
        self.site.broker.start()
        self.happened[f"{self.site.broker.name} away"] += 1

    def broker_flushed(self) -> None:
        """The broker forgets everything."""
        self.site.broker.flush()
        self.happened[f"{self.site.broker.name} flushed"] += 1

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
        self.disk.fill()
        self.pause(self._moment())
        self.disk.empty()
        self.happened["disk full"] += 1

    def store_away(self) -> None:
        """The disk of the blobs is not mounted for a while, or the store does not answer."""
        with self.site.store.away():
            self.pause(self._moment())
        self.happened["blob store away"] += 1
