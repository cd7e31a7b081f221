"""Inputs that end or hang the process that computes them: found, and given up each for itself.

A runner that dies amid the inputs of a shard costs that shard a death. After ``most`` of them in a row without progress
it is cut in halves, of which each goes on alone, down to a single input; that one fails, and costs the certification
its own result. Of m inputs, one that always does it costs at most ``most * (1 + ceil(log2 m))`` deaths; what is done
before it is not done again. Workers that go silent are no input's fault: they cost attempts (``leases``).
"""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from models.base import Json
from models.bell import Bell
from models.database import ring_after_commit
from models.repositories import results, shards, splits
from models.repositories.leases import Claim
from models.tables import Certification, Chunk, Result, Shard

ALL = 10
"""Inputs of a certification that fail before any other has a result: it is not the inputs, and the job fails."""
MOST = 100
"""Inputs of a certification that may fail."""


def died(
    session: Session, claim: Claim, cause: Json, *, given_up: Json, labels: Mapping[int, int], most: int
) -> int | None:
    """Give the claimed shard back after a death, ``cause``, or cut it; or let its only input fail, as ``given_up``
    says, whose index is returned. Raises ``LostClaim``."""
    certification, shard = shards.locked(session, claim)
    shard.deaths += 1
    shard.attempts = max(0, shard.attempts - 1)  # the claim counts as a death
    shard.cause = cause
    there = set(session.scalars(select(Result.index).where(*_of(shard))))
    left = [index for index in shard.indices if index not in there]
    if shard.deaths >= most and len(left) == 1:
        _fail(session, claim, certification, shard, left[0], given_up, labels.get(left[0]))
        return left[0]
    if shard.deaths >= most and left:
        half = len(left) // 2
        splits.divide(session, shard, left[half], deaths=_forgiven(len(left) - half, most))
        shard.deaths = _forgiven(half, most)
    shard.lease_expires_at = None
    ring_after_commit(session, Bell("shard", shard.id))
    return None


def _forgiven(inputs: int, most: int) -> int:
    """Deaths that a half begins with: the next one cuts it again; a single input has all its attempts."""
    return most - 1 if inputs > 1 else 0


def _fail(
    session: Session,
    claim: Claim,
    certification: Certification,
    shard: Shard,
    index: int,
    problem: Json,
    label: int | None,
) -> None:
    counted = Chunk.certification_id == certification.id, Chunk.index == index
    done = sum(sum(counts) for counts in session.scalars(select(Chunk.counts).where(*counted)))
    session.execute(delete(Chunk).where(*counted))
    key = {"certification_id": certification.id, "index": index}
    said = {"label": label, "prediction": None, "radius": None, "abstained": False}
    session.add(Result(**key, **said, detail={"failed": True, "problem": problem}))
    shard.done += max(0, splits.cost_of_input(certification) - done)
    session.flush()
    there, failed = results.failures(session, certification.id)
    if failed > MOST or (not there and failed >= ALL):
        shards.fail(session, claim, problem)
        return
    shards.finish(session, claim)
    if certification.due_at is not None:
        ring_after_commit(session, Bell("certification", certification.id))


def _of(shard: Shard) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    indices = shard.indices
    return Result.certification_id == shard.certification_id, Result.index.between(indices[0], indices[-1])
