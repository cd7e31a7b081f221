"""What a worker counts of itself since it started. Its presence carries that to the database (``Presence.figures``),
from where the API's /metrics tells it: a worker needs no port of its own, and one behind a firewall is seen."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from models.base import Json

WORK = CollectorRegistry()

BUCKETS = (0.1, 0.5, 2, 10, 20, 60, 180, 600)  # seconds; shards aim at 20 to 60

SHARD_SECONDS = Histogram(
    "radii_shard_seconds", "Time from taking a shard to its end.", ["method"], buckets=BUCKETS, registry=WORK
)
COUNTED = Counter(
    "radii_counted", "Progress that was written: samples, or inputs of lipschitz and local.", ["method"], registry=WORK
)
ATTEMPTS = Counter(
    "radii_attempts",
    "Attempts at a row that have ended: done, failed, lost (its process is gone), taken (by another worker, or "
    "cancelled), given_back.",
    ["kind", "outcome"],
    registry=WORK,
)
LAPSED = Counter(
    "radii_leases_lapsed", "Rows that were taken over because their worker had gone silent.", ["kind"], registry=WORK
)


def written(registry: CollectorRegistry = WORK) -> Json:
    """All that is in ``registry`` now, as JSON."""
    return {
        family.name: {
            "type": family.type,
            "help": family.documentation,
            "samples": [
                [sample.name, sample.labels, sample.value]
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        }
        for family in registry.collect()
    }


def read(figures: dict[str, Json]) -> Iterator[Metric]:
    """The families of several workers, by their names, from what ``written`` made; each sample says whose it is.

    What another version wrote in another form is left out.
    """
    families: dict[str, Metric] = {}
    for worker, document in sorted(figures.items()):
        for name, family in document.items():
            try:
                found = [(str(sample), dict(labels), float(value)) for sample, labels, value in family["samples"]]
                metric = families.setdefault(name, _empty(name, family))
            except (KeyError, TypeError, ValueError):
                continue
            for sample, labels, value in found:
                metric.add_sample(sample, {**labels, "worker": worker}, value)
    yield from families.values()


def _empty(name: str, family: dict[str, Any]) -> Metric:
    return Metric(name, family["help"], family["type"])
