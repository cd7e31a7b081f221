"""Certifications: planned into shards, ended once."""

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from models import cross_check
from models.base import Json, now
from models.bell import Bell
from models.curve import CLAIMS, summary
from models.database import ring_after_commit
from models.ids import CERTIFICATION, SHARD, new_id
from models.plan import Plan
from models.problems import Problem
from models.repositories import reports, results
from models.states import TERMINAL, IllegalMove, JobState, guard
from models.tables import Certification, Chunk, Dataset, Model, Shard

OPEN = (JobState.QUEUED, JobState.RUNNING)


def add(
    session: Session,
    model: Model,
    dataset: Dataset,
    *,
    denoiser: Model | None = None,
    method: Json,
    plan: Plan,
    indices: range,
    cost: int,
    shard_inputs: int,
) -> Certification:
    """A queued certification of ``indices``, each costing ``cost`` units, cut into shards of ``shard_inputs``."""
    row = Certification(
        id=new_id(CERTIFICATION),
        model=model,
        denoiser=denoiser,
        dataset=dataset,
        method=method,
        plan=plan,
        start=indices.start,
        stop=indices.stop,
        step=indices.step,
        total=len(indices) * cost,
    )
    session.add(row)
    for start in range(0, len(indices), shard_inputs):
        stop = min(start + shard_inputs, len(indices))
        shard = Shard(id=new_id(SHARD), certification=row, start=start, stop=stop)
        session.add(shard)
        ring_after_commit(session, Bell("shard", shard.id))
    session.flush()
    return row


def get(session: Session, certification_id: str, *, lock: bool = False) -> Certification | None:
    """The certification, if there is one of that id; ``lock`` keeps it from changing until the transaction ends."""
    query = select(Certification).where(Certification.id == certification_id)
    if lock:
        query = query.with_for_update(of=Certification).execution_options(populate_existing=True)
    return session.scalar(query)


def cancel(session: Session, certification: Certification) -> None:
    """End a (locked) certification as cancelled. Its shards end with it, so a worker in the middle of one loses its
    claim and stops at its next word to the database. Raises ``IllegalMove`` if it has ended already."""
    _end(session, certification, JobState.CANCELLED)


def fail(session: Session, certification: Certification, problem: Json) -> None:
    """End a (locked) certification as failed, because of ``problem``."""
    certification.problem = problem
    _end(session, certification, JobState.FAILED)


def end_if_complete(session: Session, certification: Certification) -> None:
    """End a (locked) certification if its last shard has ended: as succeeded, unless its cross-check damns it."""
    open_shard = select(Shard.id).where(Shard.certification_id == certification.id, Shard.state.in_(OPEN)).limit(1)
    session.flush()
    if session.scalar(open_shard) is not None:
        return
    checked = _cross_check(session, certification)
    if why := checked and cross_check.damning(checked):
        fail(session, certification, Problem.CONTRADICTED.document(why))
    else:
        _end(session, certification, JobState.SUCCEEDED)


def _cross_check(session: Session, certification: Certification) -> Json | None:
    """The tally of the attacks; None where there is none."""
    method, indices = certification.method, certification.indices
    drawn = cross_check.drawn(method, (certification.model.summary or {}).get("digest", ""), indices)
    attacks = results.attacks(session, certification.id)
    return cross_check.tally(certification.plan, len(indices), drawn, attacks) if drawn or attacks else None


def _end(session: Session, certification: Certification, state: JobState) -> None:
    if certification.state in TERMINAL:
        raise IllegalMove(f"{certification.state} -> {state}")
    certification.state = JobState(guard(certification.state, state))
    certification.finished_at = now()
    figures = summary(certification.plan, results.outcomes(session, certification.id))
    figures |= {"inputs_asked": len(certification.indices), "complete": state is JobState.SUCCEEDED}
    if state is JobState.FAILED:  # what was counted does not stand
        figures |= dict.fromkeys(CLAIMS)
    figures |= reports.summary(certification.plan, reports.get(session, certification.id))
    if checked := _cross_check(session, certification):
        figures["cross_check"] = checked
    if others := results.other_noises(session, certification.id):
        figures["other_noises"] = others
    if certification.execution is not None:
        figures["execution"] = {key: certification.execution[key] for key in ("executor", "batch_size")}
    if certification.denoiser is not None:
        task = certification.model.settings.get("task", "classifier")
        both = {task: certification.model, "denoiser": certification.denoiser}
        figures["networks"] = {name: (model.summary or {}).get("digest") for name, model in both.items()}
    certification.summary = figures
    session.flush()
    of_this = Shard.certification_id == certification.id
    session.execute(update(Shard).where(of_this, Shard.state.in_(OPEN)).values(state=JobState.CANCELLED))
    session.execute(delete(Chunk).where(Chunk.certification_id == certification.id))
