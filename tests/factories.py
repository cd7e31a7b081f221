"""Rows for tests, one short factory a table. They go through the repositories, as the service does."""

import hashlib
from typing import Any

from sqlalchemy.orm import Session

from models.bell import Bell
from models.database import ring_after_commit
from models.plan import Plan, Stage
from models.principal import DEFAULT_TENANT
from models.repositories import certifications, intake, leases, splits, uploads
from models.tables import Certification, Dataset, Model, Upload

INPUT = {"shape": [1, 8, 8], "range": [0.0, 1.0], "mean": [0.0], "std": [1.0]}
APPLIES: list[dict[str, Any]] = [{"kind": kind, "applies": True, "reasons": []} for kind in ("smoothing", "lipschitz")]


def upload(session: Session, content: bytes = b"content", *, tenant: str = DEFAULT_TENANT) -> Upload:
    return uploads.add(session, tenant, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def validating_model(
    session: Session, *, content: bytes = b"model", tenant: str = DEFAULT_TENANT, **settings: Any
) -> Model:
    settings = {"input": INPUT, "output": None, "labels": None} | settings
    sent = upload(session, content, tenant=tenant)
    return intake.add_model(session, sent, name="digits", settings=settings, external={})[0]


def ready_model(
    session: Session,
    *,
    content: bytes = b"model",
    tenant: str = DEFAULT_TENANT,
    settings: dict[str, Any] | None = None,
    **summary: Any,
) -> Model:
    model = validating_model(session, content=content, tenant=tenant, **(settings or {}))
    summary = {
        "digest": "d" * 64,
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "graph": {},
        "methods": APPLIES,
        "checked": {},
    } | summary
    return _accepted(session, "model", model, summary)


def validating_dataset(session: Session, *, content: bytes = b"dataset", tenant: str = DEFAULT_TENANT) -> Dataset:
    return intake.add_dataset(session, upload(session, content, tenant=tenant), name="digits")[0]


def ready_dataset(
    session: Session, *, content: bytes = b"dataset", tenant: str = DEFAULT_TENANT, count: int = 50, **summary: Any
) -> Dataset:
    dataset = validating_dataset(session, content=content, tenant=tenant)
    summary = {
        "count": count,
        "shape": [1, 8, 8],
        "dtype": "float32",
        "min": 0.0,
        "max": 1.0,
        "labels": {"0": count},
        "num_labels": 1,
        "digest": "e" * 64,
        "x_blob": "a" * 64,
        "y_blob": "b" * 64,
    } | summary
    return _accepted(session, "dataset", dataset, summary)


def smoothing(n0: int, n: int) -> Plan:
    """What tables know of a smoothing method of so many samples."""
    stages = Stage("pilot", "pilot_counts", n0), Stage("estimate", "counts", n)
    return Plan(stages, chance=0.001, passing=("executor", "batch_size", "device"))


def certification(
    session: Session, *, tenant: str = DEFAULT_TENANT, inputs: int = 5, cost: int = 110, shard_inputs: int = 2
) -> Certification:
    row = certifications.add(
        session,
        certifications.new(
            ready_model(session, tenant=tenant),
            ready_dataset(session, tenant=tenant),
            method={"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 10, "n": cost - 10},
            plan=smoothing(10, cost - 10),
            indices=range(inputs),
            cost=cost,
            shard_inputs=shard_inputs,
        ),
    )
    cut(session, row.id)
    return row


def cut(session: Session, certification_id: str, shards: int | None = None) -> None:
    """The next ``shards`` of a certification, or all that it is not cut into yet, as workers make them."""
    row = session.get_one(Certification, certification_id)
    while row.unsharded and shards != 0:
        shards = None if shards is None else shards - 1
        shard = splits.cut(session, row, row.shard_inputs)
        ring_after_commit(session, Bell("shard", shard.id))
    session.flush()


def end(session: Session, certification_id: str) -> None:
    """A worker ends a certification, if its shards have."""
    session.flush()
    claim = leases.claim(session, "certification", certification_id, worker="factory", seconds=60)
    if claim is not None:
        figures = certifications.conclusion(session, session.get_one(Certification, certification_id))
        certifications.end(session, claim, figures)
        session.flush()


def _accepted(session: Session, noun: str, row: Any, summary: dict[str, Any]) -> Any:
    session.flush()
    claim = leases.claim(session, noun, row.id, worker="factory", seconds=60)
    if claim is not None:  # the same row asked for twice is ready already
        intake.accept(session, claim, summary)
        session.flush()
    return row
