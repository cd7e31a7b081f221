"""Certifications, or parts of them, that are answered from what is known: nothing computes.

Lock order as of ``shards``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import cross_check
from models.base import now
from models.repositories import answers, certifications, leases, ledger, reports, results, splits
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


def untouched(session: Session, certification_id: str, *, inputs: int) -> range:
    """The next inputs of a certification that are of no shard yet, at most so many."""
    certification = session.get_one(Certification, certification_id)
    return _uncut(certification)[:inputs]


def finish_known(session: Session, certification_id: str, indices: range, asked: Asked) -> int:
    """Answer those of ``indices``, if they are the next inputs of a certification that runs, which come before the
    first whose answer is not known; how many. Raises ``CountsMismatch``."""
    certification = certifications.get(session, certification_id, lock=True)
    if certification is None or certification.state in TERMINAL or not indices:
        return 0
    if _uncut(certification)[: len(indices)] != indices:  # somebody has cut it meanwhile
        return 0
    found = _results(session, certification, indices, asked)
    known = next((place for place, index in enumerate(indices) if index not in found), len(indices))
    if not known:
        return 0
    shard = splits.cut(session, certification, known)
    session.add_all(found[index] for index in indices[:known])
    shard.fence = 1
    shard.state = JobState(guard(guard(JobState.QUEUED, JobState.RUNNING), JobState.SUCCEEDED))
    shard.done = _cost(certification) * known
    session.flush()
    certifications.add_shard(certification, results.totals_of(session, certification, indices[:known]), shard.done)
    certifications.shard_ended(session, certification)
    return known


def _uncut(certification: Certification) -> range:
    indices = certification.indices
    return indices[len(indices) - certification.unsharded :]


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
