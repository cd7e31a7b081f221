"""Batches: certifications that are asked for together. What a batch is like is asked of them, each time anew."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import BigInteger, RowMapping, case, cast, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, selectinload

from models.ids import BATCH, new_id
from models.repositories import certifications
from models.repositories.intake import fingerprint
from models.states import OPEN, IllegalMove, JobState
from models.tables import Batch, Certification, Dataset, Model, Result
from models.tenant_session import TenantSession


@dataclass
class Tally:
    """What the certifications of a batch come to."""

    states: dict[JobState, int] = field(default_factory=dict)
    """How many are in each state."""
    work: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By kind of method: how many there are, the units of their work that are done or needed no longer, and all."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    """When the last of those that have ended did."""

    @property
    def state(self) -> JobState:
        """``queued`` until one is begun, ``running`` until all have ended; then ``failed`` if one has failed, else
        ``cancelled`` if one was, else ``succeeded``."""
        there = {state for state, count in self.states.items() if count}
        if there & set(OPEN):
            return JobState.QUEUED if there == {JobState.QUEUED} else JobState.RUNNING
        return next((state for state in (JobState.FAILED, JobState.CANCELLED) if state in there), JobState.SUCCEEDED)

    @property
    def fraction(self) -> float:
        """How much of the work is done. Within a kind of method each counts with its work; between kinds, whose units
        differ, by how many there are."""
        if not (count := sum(self.states.values())):
            return 1.0  # all have been deleted
        return sum(members / count * done / total for members, done, total in self.work.values())


def add(session: TenantSession, rows: Sequence[Certification], *, name: str | None) -> tuple[Batch, bool]:
    """The batch of these certifications, which are not added yet, and whether it is new. The same question twice, in
    whatever order, is the same batch; unless that has ended without an answer to all of it: then it is asked anew."""
    tenant = session.principal.tenant
    mark = f"{tenant}:{fingerprint(*sorted(content(row) for row in rows))}"
    same = select(Batch).where(Batch.fingerprint == mark)
    if (known := session.scalar(same.with_for_update())) is not None:
        came_to = tally(session, [known.id])[known.id]
        whole = sum(came_to.states.values()) == len(rows)  # none has been deleted
        if whole and came_to.state not in (JobState.FAILED, JobState.CANCELLED):
            return known, False
        known.fingerprint = f"{mark}:{known.id}"
        session.flush()
    batch = Batch(id=new_id(BATCH), tenant=tenant, name=name, fingerprint=mark)
    try:
        with session.begin_nested():
            session.add(batch)
    except IntegrityError:  # another request was first, a moment ago
        return session.scalars(same).one(), False
    for place, row in enumerate(rows):
        row.batch_id, row.batch_index = batch.id, place
    certifications.add_all(session, rows)
    return batch, True


def content(row: Certification) -> str:
    """All that is asked by a certification."""
    front = None if row.denoiser is None else row.denoiser.id
    return fingerprint(row.model.id, front, row.dataset.id, row.method, row.start, row.stop, row.step)


def get(session: TenantSession, batch_id: str) -> Batch | None:
    """The batch, if there is one of that id."""
    return session.get(Batch, batch_id)


def tally(session: Session, batch_ids: Sequence[str]) -> dict[str, Tally]:
    """What the certifications of each of those batches come to, in one statement."""
    ended = Certification.state.not_in(OPEN)
    running = (Certification.state == JobState.RUNNING, Certification.done)  # which looks at its shards
    done = case((ended, Certification.total), running, else_=Certification.done_by_ended)
    asked = (
        select(
            Certification.batch_id,
            Certification.state,
            Certification.method["kind"].as_string().label("method_kind"),
            func.count().label("members"),
            cast(func.sum(done), BigInteger).label("done"),
            cast(func.sum(Certification.total), BigInteger).label("total"),
            func.min(Certification.started_at).label("started_at"),
            func.max(Certification.finished_at).label("finished_at"),
        )
        .where(Certification.batch_id.in_(batch_ids))
        .group_by(Certification.batch_id, Certification.state, "method_kind")
    )
    found = {batch_id: Tally() for batch_id in batch_ids}
    for row in session.execute(asked):
        of = found[row.batch_id]
        of.states[row.state] = of.states.get(row.state, 0) + row.members
        members, worked, total = of.work.get(row.method_kind, (0, 0, 0))
        of.work[row.method_kind] = (members + row.members, worked + row.done, total + row.total)
        of.started_at = min(filter(None, (of.started_at, row.started_at)), default=None)
        of.ended_at = max(filter(None, (of.ended_at, row.finished_at)), default=None)
    return found


def telling(session: Session, batch_id: str, *, most: int) -> Sequence[Certification]:
    """The certifications of a batch that are under way, then those that failed: ``most`` of them."""
    tell = Certification.state.in_((JobState.RUNNING, JobState.FAILED))
    first = case((Certification.state == JobState.RUNNING, 0), else_=1)
    query = select(Certification).where(Certification.batch_id == batch_id, tell)
    query = query.options(joinedload(Certification.model), joinedload(Certification.dataset))
    return session.scalars(query.order_by(first, Certification.batch_index).limit(most)).all()


def cancel(session: Session, batch: Batch) -> None:
    """End whatever of a batch has not ended. Raises ``IllegalMove`` if all of it has."""
    rows = session.scalars(
        select(Certification)
        .where(Certification.batch_id == batch.id, Certification.state.in_(OPEN))
        .order_by(Certification.id)  # so that two who cancel don't wait for one another
        .options(selectinload(Certification.model), selectinload(Certification.denoiser))
        .with_for_update(of=Certification, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    if not rows:
        raise IllegalMove(f"{batch.id} has ended")
    certifications.cancel_all(session, rows)


def table(session: Session, batch_id: str) -> Sequence[RowMapping]:
    """A row for each certification of a batch, in the order in which they were asked for."""
    columns = (
        Certification.batch_index.label("index"),
        Certification.id.label("certification_id"),
        Certification.state,
        Certification.model_id,
        Model.name.label("model"),
        Certification.denoiser_model_id,
        Certification.dataset_id,
        Dataset.name.label("dataset"),
        Certification.method,
        Certification.start,
        Certification.stop,
        Certification.step,
        Certification.summary,
        Certification.problem,
    )
    joined = select(*columns).join(Certification.model).join(Certification.dataset)
    ours = joined.where(Certification.batch_id == batch_id).order_by(Certification.batch_index)
    return session.execute(ours).mappings().all()


def certified(session: Session, batch_id: str, radii: Sequence[float]) -> dict[str, tuple[int, dict[float, int]]]:
    """Of each certification of a batch that has succeeded: how many results it has, and how many of them certify the
    right answer (any answer, where there are no labels) at a radius of at least each of ``radii``."""
    done = select(Certification.id).where(Certification.batch_id == batch_id, Certification.state == JobState.SUCCEEDED)
    right = Result.label.is_(None) | (Result.label == Result.prediction)
    reached = [func.sum(case(((Result.radius >= radius) & right, 1), else_=0)) for radius in radii]
    counted = select(Result.certification_id, func.count(), *reached).where(Result.certification_id.in_(done))
    return {
        job: (inputs, dict(zip(radii, map(int, counts), strict=True)))
        for job, inputs, *counts in session.execute(counted.group_by(Result.certification_id))
    }
