"""What /metrics tells, in the words of Prometheus: requests of this process, and what describes the jobs and the
workers, which is asked of the database. Every API process of an installation tells the latter alike."""

import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models import metrics
from models.repositories.figures import Figures
from models.states import JobState
from models.work import CERTIFY, INTAKE, NOUNS

CACHE_SECONDS = 3.0  # several who scrape, or one who does so every second, cost the database as much as one
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds; a request may wait for 60

HTTP = CollectorRegistry()
REQUEST_SECONDS = Histogram(
    "radii_http_request_seconds",
    "Time from a request's first byte to its answer's last, by the template of its route.",
    ["method", "route", "status"],
    buckets=BUCKETS,
    registry=HTTP,
)
IN_PROGRESS = Gauge("radii_http_requests_in_progress", "Requests that are being answered.", registry=HTTP)
ProcessCollector(registry=HTTP)
PlatformCollector(registry=HTTP)


class FromDatabase(Collector):
    """The families that are made of ``look``, asked at most every ``CACHE_SECONDS``. While it fails, there is
    ``radii_database_up`` 0 and nothing old."""

    def __init__(self, look: Callable[[], Figures]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._until = 0.0
        self._families: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, perhaps some seconds old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._families = self._asked()
                self._until = time.monotonic() + CACHE_SECONDS
            yield from self._families

    def _asked(self) -> list[Metric]:
        begun = time.perf_counter()
        up = GaugeMetricFamily("radii_database_up", "Whether the database answered.")
        try:
            found = self._look()
        except Exception:  # whatever it is, the rest of /metrics is to be had; /readyz says what it is
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        took = GaugeMetricFamily("radii_figures_seconds", "Time that the database took for all of this.")
        took.add_metric([], time.perf_counter() - begun)
        workers = {worker.name: worker.figures for worker in found.workers}
        return [up, took, *_of_jobs(found), *_of_workers(found), *metrics.read(workers)]


def _of_jobs(found: Figures) -> Iterator[Metric]:
    """All kinds and open states, also those that have no rows: an alert wants a zero, not silence."""
    jobs = GaugeMetricFamily("radii_jobs", "Rows that have not ended.", labels=["kind", "state"])
    held = GaugeMetricFamily("radii_jobs_held", "Of these, held by a worker now.", labels=["kind", "state"])
    oldest = GaugeMetricFamily("radii_oldest_seconds", "Age of the oldest of these.", labels=["kind", "state"])
    known = {(one.kind, one.state): one for one in found.open}
    for noun in NOUNS.values():
        for state in noun.open:
            key = [noun.name, state.value]
            one = known.get((noun.name, state.value))
            jobs.add_metric(key, one.rows if one else 0)
            held.add_metric(key, one.held if one else 0)
            oldest.add_metric(key, one.oldest if one else 0)
    yield from (jobs, held, oldest)
    waiting = GaugeMetricFamily("radii_waiting", "Rows that a worker could take now.", labels=["queue"])
    for queue in (INTAKE, CERTIFY):
        rows = sum(one.rows - one.held for one in found.open if _takes(one.kind, one.state, queue))
        waiting.add_metric([queue], rows + (found.uncut if queue == CERTIFY else 0))
    yield waiting
    failed = GaugeMetricFamily(
        "radii_failed", "Rejected uploads and failed certifications that are kept.", labels=["kind", "problem"]
    )
    for (kind, problem), rows in sorted(found.failed.items()):
        failed.add_metric([kind, problem], rows)
    yield failed


def _takes(kind: str, state: str, queue: str) -> bool:
    """Whether such a row is work for ``queue``. (Between a certification's beginning and end, its shards are.)"""
    return NOUNS[kind].queue == queue and (NOUNS[kind].due is None or state == JobState.QUEUED)


def _of_workers(found: Figures) -> Iterator[Metric]:
    there = GaugeMetricFamily(
        "radii_workers", "Workers that are there, by the queue that they take from.", labels=["queue"]
    )
    for queue in (INTAKE, CERTIFY):
        there.add_metric([queue], sum(queue in worker.queues.split() for worker in found.workers))
    yield there
    told = ["worker", "host", "version", "queues", "device"]
    info = GaugeMetricFamily("radii_worker_info", "A worker that is there.", labels=told)
    busy = GaugeMetricFamily("radii_worker_busy", "Whether it works on something.", labels=["worker"])
    pace = GaugeMetricFamily("radii_worker_samples_per_second", "Its pace while it last computed.", labels=["worker"])
    memory = GaugeMetricFamily("radii_worker_memory_bytes", "What its runner holds of the device.", labels=["worker"])
    total = GaugeMetricFamily("radii_worker_memory_total_bytes", "What the device has.", labels=["worker"])
    for worker in found.workers:
        info.add_metric([worker.name, worker.host, worker.version, worker.queues, worker.device or "none"], 1)
        busy.add_metric([worker.name], float(worker.work is not None))
        for family, value in ((pace, worker.samples_per_second), (memory, worker.memory), (total, worker.memory_total)):
            if value is not None:
                family.add_metric([worker.name], value)
    yield from (info, busy, pace, memory, total)
