"""Certifications, or parts of them, that are answered from what is known: nothing computes.

Lock order as of ``shards``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from models import cross_check
from models.base import now
from models.repositories import answers, certifications, leases, ledger, reports, results
from models.repositories.answers import Question
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import Claim, LostClaim
from models.repositories.ledger import Streams
from models.states import TERMINAL, JobState, guard
from models.tables import Certification, Chunk, Result, Shard


@dataclass(frozen=True)
class Asked:
    """What is asked about some inputs of a certification, as the tables know it."""

    question: Question
    streams: Streams | None  # of what is sampled
    labels: Mapping[int, int]


def recall(session: Session, claim: Claim, indices: Sequence[int], asked: Asked, *, seconds: float) -> set[int]:
    """Give those of ``indices`` of the claimed shard that have no result yet the answers that are known to the very
    same question; which have a result now. Keeps the lease for ``seconds``. Raises ``LostClaim`` or ``CountsMismatch``.
    """
    shard = leases.held(session, claim)
    if not isinstance(shard, Shard):
        raise LostClaim(claim.id)
    these = Result.certification_id == shard.certification_id, Result.index.in_(indices)
    there = set(session.scalars(select(Result.index).where(*these)))
    found = _results(session, shard.certification, [index for index in indices if index not in there], asked)
    session.add_all(found.values())
    shard.done += _cost(shard.certification) * len(found)
    shard.lease_expires_at = now() + timedelta(seconds=seconds)
    if found:
        shard.attempts = 0
    return there | set(found)


def untouched(session: Session, certification_id: str, *, inputs: int) -> dict[str, range]:
    """The next shards of a certification that nobody has begun, of at most so many ``inputs``, and their indices."""
    query = select(Shard).where(Shard.certification_id == certification_id, *_untouched()).order_by(Shard.start)
    found: dict[str, range] = {}
    for shard in session.scalars(query.limit(inputs)):
        if sum(map(len, found.values())) + len(shard.indices) > inputs:
            break
        found[shard.id] = shard.indices
    return found


def finish_known(session: Session, certification_id: str, shard_ids: Sequence[str], asked: Asked) -> int:
    """End those of the shards of a certification that runs, which nobody has begun, whose answers are all known; how
    many. Raises ``CountsMismatch``."""
    certification = certifications.get(session, certification_id, lock=True)
    if certification is None or certification.state in TERMINAL:
        return 0
    free = select(Shard).where(Shard.id.in_(shard_ids), *_untouched()).order_by(Shard.start)
    rows = session.scalars(free.with_for_update(of=Shard, skip_locked=True)).all()
    found = _results(session, certification, [index for shard in rows for index in shard.indices], asked)
    known = [shard for shard in rows if found.keys() >= set(shard.indices)]
    session.add_all(found[index] for shard in known for index in shard.indices)
    for shard in known:
        shard.fence += 1
        shard.state = JobState(guard(guard(shard.state, JobState.RUNNING), JobState.SUCCEEDED))
        shard.done = _cost(certification) * len(shard.indices)
        ours = results.totals_of(session, certification, shard.indices)
        certifications.add_shard(certification, ours, shard.done)
    return len(known)


def _untouched() -> tuple[ColumnElement[bool], ...]:
    return Shard.state == JobState.QUEUED, Shard.lease_expires_at.is_(None)


def _results(session: Session, certification: Certification, indices: Sequence[int], asked: Asked) -> dict[int, Result]:
    """The results of those inputs that can do without computing.

    An input that was drawn for the cross-check, and is certified, can not where no attack on it is known. A
    contradiction that is known stands, whether its input was drawn or not. What has begun to be counted goes on.
    """
    plan, total = certification.plan, _cost(certification)
    digest = (certification.model.summary or {}).get("digest", "")
    drawn = set(cross_check.drawn(certification.method, digest, certification.indices))
    begun = select(Chunk.index).where(Chunk.certification_id == certification.id, Chunk.index.in_(indices)).distinct()
    counting = set(session.scalars(begun))
    known = answers.known(session, asked.question, [index for index in indices if index not in counting])
    others = ledger.other_noises(session, asked.streams, list(known), plan) if asked.streams else {}
    reported = {
        job: _has_report(session, certification, job)
        for job in {answer.certification_id for answer in known.values()}
        if plan.figures
    }
    found: dict[int, Result] = {}
    for index, answer in known.items():
        attackable = answer.prediction is not None and answer.radius is not None
        if (index in drawn and attackable and answer.attack is None) or not reported.get(answer.certification_id, True):
            continue
        detail = answer.detail | {"seconds": 0.0, "answered_by": answer.certification_id}
        if answer.attack is not None and (index in drawn or answer.attack.get("contradicted")):
            detail["attack"] = answer.attack
        counted = sum(sum(detail[stage.counts]) for stage in plan.stages)
        if counted and counted + detail.get("unspent", 0) != total:
            raise CountsMismatch(f"input {index} of {certification.id}: {counted} samples are known, not {total}")
        if asked.streams is not None:
            detail |= {"reused": counted} | ({"other_noises": others[index]} if index in others else {})
        found[index] = Result(
            certification_id=certification.id,
            index=index,
            label=asked.labels.get(index),
            prediction=answer.prediction,
            radius=answer.radius,
            abstained=answer.abstained,
            detail=detail,
        )
    return found


def _cost(certification: Certification) -> int:
    """Units of progress that an input is."""
    return certification.total // len(certification.indices)


def _has_report(session: Session, certification: Certification, other: str) -> bool:
    """Whether the certification has a report, be it that of the other one, which came to the same answers."""
    if reports.get(session, certification.id) is None:
        document = reports.get(session, other)
        if document is None:
            return False
        reports.add_first(session, certification.id, document)
    return True
