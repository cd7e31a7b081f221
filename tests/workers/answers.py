"""What certifications of an installation for tests came to, and what the library says in their place."""

from functools import cache
from typing import Any

import numpy as np
import torch
from sqlalchemy import select

from models.states import TERMINAL
from models.tables import Certification, Report, Result, Shard
from radii.graph import normalized, read_onnx, to_module
from radii.smoothing import certify, gaussian, input_digest, noise_key
from tests.workers.harness import EXAMPLES, SECRET, Service

DIGITS = np.load(EXAMPLES / "digits.npz")


def results(service: Service, certification: str) -> list[Result]:
    with service.database.read() as session:
        query = select(Result).where(Result.certification_id == certification).order_by(Result.index)
        return list(session.scalars(query))


def reports(service: Service, certification: str) -> list[Any]:
    with service.database.read() as session:
        return list(session.scalars(select(Report.document).where(Report.certification_id == certification)))


def shards(service: Service, certification: str) -> list[Shard]:
    with service.database.read() as session:
        return list(session.scalars(select(Shard).where(Shard.certification_id == certification).order_by(Shard.start)))


@cache
def truth(inputs: int, n: int) -> list[tuple[object, ...]]:
    """(prediction, radius, pilot counts, counts) of the first digits, by the library in this process."""
    graph = normalized(read_onnx((EXAMPLES / "digits.onnx").read_bytes()), [0.0], [1.0])
    found: list[tuple[object, ...]] = []
    for x in DIGITS["x"][:inputs]:
        key = noise_key(
            bytes.fromhex(SECRET),
            model_digest=graph.digest,
            input_digest=input_digest(x),
            noise=gaussian(0.25).name,
            sigma=0.25,
        )
        p = certify(
            to_module(graph),
            torch.from_numpy(x),
            num_classes=10,
            noise=gaussian(0.25),
            alpha=0.001,
            n0=100,
            n=n,
            key=key,
            batch_size=250,
        )
        found.append((p.prediction, p.radius, list(p.pilot_counts), list(p.counts)))
    return found


def said(service: Service, certification: str) -> list[tuple[object, ...]]:
    """The same of a certification that has succeeded, whose samples one executor ran, whichever workers there were."""
    row = service.get(Certification, certification)
    assert (row.state, row.done) == ("succeeded", row.total), row.problem
    rows = results(service, certification)
    executions = [{key: r.detail[key] for key in ("executor", "batch_size") if key in r.detail} for r in rows]
    assert all(execution == row.summary.get("execution", {}) for execution in executions)
    return [(r.prediction, r.radius, r.detail["pilot_counts"], r.detail["counts"]) for r in rows]


def done(service: Service, certification: str) -> None:
    service.wait(Certification, certification, *TERMINAL)
