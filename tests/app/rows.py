"""What intake and workers would do, for tests of the API: through the repositories, leases and all."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from models.database import Database
from models.repositories import intake, leases, shards
from models.repositories.chunks import ChunkCounts, InputResult
from models.tables import Shard
from radii.methods import parse_method
from tests import factories

APPLY: list[dict[str, Any]] = [{"kind": kind, "applies": True, "reasons": []} for kind in ("smoothing", "lipschitz")]
MODEL = {"digest": "d" * 64, "input_shape": [1, 8, 8], "num_classes": 10, "graph": {}, "methods": APPLY, "checked": {}}
DATASET = {
    "count": 100,
    "shape": [1, 8, 8],
    "dtype": "float32",
    "min": 0.0,
    "max": 1.0,
    "labels": {"0": 60, "9": 40},
    "num_labels": 10,
    "digest": "e" * 64,
    "x_blob": "a" * 64,
    "y_blob": "b" * 64,
}
SMOOTHING = parse_method({"kind": "smoothing", "sigma": 0.25, "n": 1000}).model_dump()


def accept(database: Database, row_id: str, **found: Any) -> None:
    """Intake accepts the model or data set; ``found`` replaces parts of the summary."""
    noun = "model" if row_id.startswith("mdl") else "dataset"
    with database.write() as session:
        intake.accept(session, _claim(session, noun, row_id), (MODEL if noun == "model" else DATASET) | found)


def reject(database: Database, row_id: str, problem: dict[str, Any]) -> None:
    """Intake rejects the model or data set."""
    with database.write() as session:
        intake.reject(session, _claim(session, "model" if row_id.startswith("mdl") else "dataset", row_id), problem)


def begin(database: Database, certification_id: str) -> leases.Claim:
    """A worker begins the first shard."""
    with database.write() as session:
        factories.cut(session, certification_id)
        query = select(Shard.id).where(Shard.certification_id == certification_id).order_by(Shard.start)
        claim = _claim(session, "shard", session.scalars(query).first())
        shards.begin(session, claim)
        return claim


def record(
    database: Database,
    claim: leases.Claim,
    results: Sequence[InputResult] = (),
    report: dict[str, Any] | None = None,
) -> None:
    """The worker writes ``results``, and the chunks that they are the sums of; and its report."""
    chunks = [
        ChunkCounts(result.index, stage, 0, result.detail[name])
        for result in results
        for stage, name in (("pilot", "pilot_counts"), ("estimate", "counts"))
        if name in result.detail
    ]
    with database.write() as session:
        shards.record(session, claim, chunks, results, seconds=60, report=report)


def finish(database: Database, claim: leases.Claim) -> None:
    """The worker ends the shard, and its certification if that was the last."""
    with database.write() as session:
        shards.finish(session, claim)
        factories.end(session, claim.job)


def fail(database: Database, claim: leases.Claim, problem: dict[str, Any]) -> None:
    """The worker gives up."""
    with database.write() as session:
        shards.fail(session, claim, problem)


def smoothed(index: int, label: int | None, prediction: int | None, radius: float | None) -> InputResult:
    """A result of ``SMOOTHING`` on 10 classes."""
    detail = {
        "pilot_class": 0,
        "counts": [1000, *[0] * 10],
        "pilot_counts": [100, *[0] * 10],
        "n": 1000,
        "p_lower": None if radius is None else 0.9931,
        "seconds": 0.5,
    }
    return InputResult(index, label, prediction, radius, radius is None, detail)


def bounded(index: int, label: int | None, prediction: int, radius: float) -> InputResult:
    """A result of the lipschitz method."""
    detail = {"runner_up": (prediction + 1) % 10, "margin": 2.0, "lipschitz": 4.0, "seconds": 0.01}
    return InputResult(index, label, prediction, radius, False, detail)


def report(upper: float = 4.0) -> dict[str, Any]:
    """The report of a network of one layer."""
    layer = {
        "index": 0,
        "operator": "Conv",
        "label": "\x1b[31mc1",
        "rule": "convolution",
        "shape": [4, 1, 3, 3],
        "padding": [[1, 1], [1, 1]],
        "torus": [9, 9],
        "method": "torus",
        "iterations": 3,
        "upper": upper,
        "lower": upper / 1.01,
        "slack": 1e-9,
        "share": 1.0,
        "seconds": 0.01,
    }
    pairs = {"min": upper, "max": 1.5 * upper}
    return {
        "upper": upper,
        "norm": "l2",
        "rule": "product",
        "vacuous": upper > 1e3,
        "notes": ["a note"],
        "left_out": [{"index": 1, "operator": "Softmax", "label": "\x1b[31mend"}],
        "pairwise": pairs,
        "layers": [layer],
        "seconds": 0.02,
    }


def _claim(session: Any, noun: str, row_id: Any) -> leases.Claim:
    claim = leases.claim(session, noun, row_id, worker="test", seconds=60)
    assert claim is not None
    return claim
