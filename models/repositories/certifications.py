"""Certifications: begun, ended once. The order of locks, everywhere: a certification, then its shards."""

import logging
from collections.abc import Sequence

from sqlalchemy import delete, exists, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models import cross_check, precedence
from models.base import Json, now
from models.bell import Bell
from models.database import ring_after_commit, tell_after_commit
from models.ids import CERTIFICATION, new_id
from models.plan import Plan
from models.problems import Problem
from models.repositories import reports, results
from models.repositories.chunks import CountsMismatch
from models.repositories.leases import Claim, LostClaim, held
from models.states import OPEN, TERMINAL, IllegalMove, JobState, guard
from models.tables import Certification, Chunk, Dataset, Model, Shard
from models.totals import CLAIMS, Totals, summary

log = logging.getLogger(__name__)


def new(
    model: Model,
    dataset: Dataset,
    *,
    denoiser: Model | None = None,
    method: Json,
    plan: Plan,
    indices: range,
    cost: int,
    shard_inputs: int,
    rank: int = precedence.USUAL,
    key_id: str = "",
    apart: str | None = None,
) -> Certification:
    """A queued certification of ``indices``, each costing ``cost`` units, to be cut into shards of ``shard_inputs``
    until its pace is known. It belongs to whom the model does, and is kept once it has been added. ``rank``: as of
    ``models.precedence``; ``key_id``: whose turn it is then; ``apart``: the stage whose samples workers may share."""
    return Certification(
        id=new_id(CERTIFICATION),
        tenant=model.tenant,
        model=model,
        denoiser=denoiser,
        dataset=dataset,
        method=method,
        plan=plan,
        start=indices.start,
        stop=indices.stop,
        step=indices.step,
        shard_inputs=shard_inputs,
        unsharded=len(indices),
        total=len(indices) * cost,
        rank=rank,
        key_id=key_id,
        apart=apart,
    )


def add(session: Session, row: Certification) -> Certification:
    """Keep a new certification, and have it worked on: itself."""
    add_all(session, [row])
    return row


def add_all(session: Session, rows: Sequence[Certification]) -> None:
    """Keep new certifications, in a few statements."""
    session.add_all(rows)
    session.flush()
    for row in rows:
        ring_after_commit(session, Bell("certification", row.id))


def get(session: Session, certification_id: str, *, lock: bool = False) -> Certification | None:
    """The certification, if there is one of that id; ``lock`` keeps it from changing until the transaction ends."""
    query = select(Certification).where(Certification.id == certification_id)
    if lock:
        query = query.with_for_update(of=Certification, key_share=True).execution_options(populate_existing=True)
    return session.scalar(query)


def _claimed(session: Session, claim: Claim) -> Certification:
    """The claimed certification, locked. Raises ``LostClaim``."""
    row = held(session, claim)
    if not isinstance(row, Certification):
        raise LostClaim(claim.id)
    return row


def shard_ended(session: Session, certification: Certification) -> None:
    """After a shard of a (locked) certification has ended: if it was the last one, that is due to end."""
    session.flush()
    if not certification.unsharded and not _has_open_shards(session, certification):
        certification.due_at = now()


def notice_due(session: Session) -> None:
    """Mark what is due to end and was not marked: workers of earlier versions do not."""
    over = Certification.state.in_(OPEN), Certification.due_at.is_(None), Certification.unsharded == 0
    none_open = ~exists().where(Shard.certification_id == Certification.id, Shard.state.in_(OPEN))
    session.execute(update(Certification).where(*over, none_open).values(due_at=now()))


def _has_open_shards(session: Session, certification: Certification) -> bool:
    these = Shard.certification_id == certification.id, Shard.state.in_(OPEN)
    return session.scalar(select(Shard.id).where(*these).limit(1)) is not None


def end(session: Session, claim: Claim, concluded: Json) -> None:
    """End the claimed certification, whose shards have all ended, with the figures of ``conclusion``. Raises
    ``LostClaim`` and ``CountsMismatch``."""
    certification = _claimed(session, claim)
    if certification.unsharded or _has_open_shards(session, certification):
        raise LostClaim(f"{certification.id} is not due to end")
    certification.lease_expires_at = None
    close(session, certification, concluded)
    _forget_chunks(session, certification)


def close(session: Session, certification: Certification, concluded: Json) -> None:
    """End a (locked) certification, whose shards have ended and left no chunks, with the figures of ``conclusion``.
    Raises ``CountsMismatch``."""
    if concluded["inputs"] != len(certification.indices):
        raise CountsMismatch(
            f"{certification.id} has {concluded['inputs']} results, and {len(certification.indices)} inputs"
        )
    checked = concluded.get("cross_check")
    why = checked and cross_check.damning(checked)
    if why:
        certification.problem = Problem.CONTRADICTED.document(why)
    elif concluded.get("failed") == len(certification.indices):
        certification.problem, why = results.failure(session, certification.id), "none has a result"
    if why:
        concluded |= dict.fromkeys(CLAIMS)
    _move(session, certification, JobState.FAILED if why else JobState.SUCCEEDED)
    certification.summary = concluded | {"complete": not why}


def cancel(session: Session, certification: Certification) -> None:
    """End a (locked) certification as cancelled. Its shards end with it, so a worker in the middle of one loses its
    claim and stops at its next word to the database. Raises ``IllegalMove`` if it has ended already."""
    _cut_short(session, certification, JobState.CANCELLED)


def cancel_all(session: Session, rows: Sequence[Certification]) -> None:
    """End (locked) certifications as cancelled, none of which has ended. Those that nobody has begun have no results to
    be summed, so they take a few statements together."""
    waiting = [row for row in rows if row.state is JobState.QUEUED]
    of_them = Shard.certification_id.in_([row.id for row in waiting]), Shard.state.in_(OPEN)
    session.execute(update(Shard).where(*of_them).values(state=JobState.CANCELLED))
    for row in rows:
        if row.state is JobState.QUEUED:
            _move(session, row, JobState.CANCELLED)
            row.unsharded = 0
            row.summary = figures(row, Totals(), None, None)
        else:
            cancel(session, row)
    session.flush()


def fail(session: Session, certification: Certification, problem: Json) -> None:
    """End a (locked) certification as failed, because of ``problem``."""
    certification.problem = problem
    _cut_short(session, certification, JobState.FAILED)


def give_up(session: Session, claim: Claim, problem: Json) -> None:
    """End the claimed certification as failed, because of ``problem``. Raises ``LostClaim``."""
    fail(session, _claimed(session, claim), problem)


def conclusion(session: Session, certification: Certification) -> Json:
    """The summary of a certification, of all results there are."""
    total, inputs = certification.totals, results.count(session, certification.id)
    if total.inputs != inputs:  # a worker of an earlier version ended some of its shards
        total = results.totals_of(session, certification, certification.indices)
    median_radius = results.median_radius(session, certification.id, inputs)
    return figures(certification, total, median_radius, reports.get(session, certification.id))


def figures(certification: Certification, total: Totals, median_radius: float | None, report: Json | None) -> Json:
    """The summary of a certification of those results."""
    said = summary(certification.plan, total, median_radius)
    said |= {"inputs_asked": len(certification.indices), "complete": False}
    said |= reports.summary(certification.plan, report)
    if checked := _cross_check(certification, total):
        said["cross_check"] = checked
    if total.certified_before:
        said["other_noises"] = {"inputs": total.certified_before, "noises": total.other_noises}
    if certification.execution is not None:
        said["execution"] = {key: certification.execution[key] for key in ("executor", "batch_size")}
    if certification.denoiser is not None:
        task = certification.model.settings.get("task", "classifier")
        both = {"classifier" if task == "binary" else task: certification.model, "denoiser": certification.denoiser}
        said["networks"] = {name: (model.summary or {}).get("digest") for name, model in both.items()}
    return said


def _cross_check(certification: Certification, total: Totals) -> Json | None:
    """The tally of the attacks; None where there is none."""
    method, indices = certification.method, certification.indices
    drawn = cross_check.drawn(method, (certification.model.summary or {}).get("digest", ""), indices)
    attacks = {int(index): said for index, said in total.attacks.items()}
    return cross_check.tally(certification.plan, len(indices), drawn, attacks) if drawn or attacks else None


def add_shard(certification: Certification, totals: Totals, done: int) -> None:
    """Add what a shard of a (locked) certification came to, which has ended, and its progress."""
    certification.totals += totals
    certification.done_by_ended += done


def _cut_short(session: Session, certification: Certification, state: JobState) -> None:
    _move(session, certification, state)
    session.flush()
    # First the shards: this waits for whoever is writing to one, so that the summary is of all that will ever be there.
    of_this, is_open = Shard.certification_id == certification.id, Shard.state.in_(OPEN)
    ended = update(Shard).where(of_this, is_open).values(state=JobState.CANCELLED)
    left = session.execute(ended.returning(Shard.start, Shard.stop, Shard.done, Shard.fence, Shard.first_chunk)).all()
    certification.unsharded = 0
    for shard in left:
        if shard.fence:  # else nobody has begun it
            indices = certification.indices[shard.start : shard.stop if shard.first_chunk is None else shard.start]
            add_shard(certification, results.totals_of(session, certification, indices), shard.done)
    try:
        said = conclusion(session, certification)
    except DBAPIError:
        raise
    except Exception:  # perhaps the very reason why it failed: it ends all the same
        log.exception("%s ends without figures", certification.id)
        said = summary(certification.plan, Totals(), None)
        said |= {"inputs_asked": len(certification.indices), "complete": False}
    if state is JobState.FAILED:  # what was counted does not stand
        said |= dict.fromkeys(CLAIMS)
    certification.summary = said
    _forget_chunks(session, certification)


def _move(session: Session, certification: Certification, state: JobState) -> None:
    if certification.state in TERMINAL:
        raise IllegalMove(f"{certification.state} -> {state}")
    certification.state = JobState(guard(certification.state, state))
    certification.finished_at, certification.due_at = now(), None
    tell_after_commit(session, certification.id)


def _forget_chunks(session: Session, certification: Certification) -> None:
    session.flush()
    session.execute(delete(Chunk).where(Chunk.certification_id == certification.id))
