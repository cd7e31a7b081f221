"""Shards: begun, checkpointed chunk by chunk, ended. Every write needs the claim (``LostClaim`` otherwise).

What computes writes to its own shard alone, where progress adds up. The certification, which all of them share, is
locked to begin its first shard, to settle what runs its samples, and to end a shard: before the shard, so that nobody
waits for another who waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy import ColumnElement, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from models import cross_check
from models.base import Json, now
from models.bell import Bell
from models.database import ring_after_commit
from models.problems import Problem
from models.repositories import answers, certifications, intake, ledger, paces, reports, results, splits
from models.repositories.answers import Question
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult, add_chunks, add_result
from models.repositories.leases import Claim, LostClaim, held
from models.repositories.ledger import Streams
from models.states import OPEN, TERMINAL, JobState, guard
from models.tables import Certification, Chunk, Dataset, Model, Result, Shard, Upload
from models.tables.chunk import REUSED
from models.tables.versioned import new_version
from models.totals import Totals

Counts = list[int]
SHARDS = Shard.metadata.tables["shards"]
RECENT = 20  # certifications of a network that are asked what runs it


@dataclass(frozen=True)
class Network:
    """An uploaded model, as plain data."""

    sha256: str
    settings: Json
    external_data: dict[str, str]  # name in the model file -> sha256 of the blob
    digest: str


@dataclass(frozen=True)
class WorkOrder:
    """All that computing a shard needs, as plain data."""

    certification_id: str
    tenant: str
    method: Json
    model: Network
    denoiser: Network | None  # in front of it
    x_blob: str
    y_blob: str | None
    inputs: int  # of the whole certification
    grid: list[float] | None  # the range that 255 steps of 8-bit inputs span
    indices: list[int]  # the inputs that have no result yet
    execution: Json | None  # what runs the samples, once that is settled
    executions: list[
        Json
    ]  # until then: what earlier searches found for these networks, each with `method`, latest first
    cross_check: list[int]  # the inputs to attack where they are certified
    cost: int = 1  # units of progress that an input is
    pace: float | None = None  # units a second on the device that was asked about
    deaths: int = 0  # of runners amid these inputs since the last progress
    part: Json | None = None  # of one input: `stage`, and the chunks `first` to `stop - 1` of so many `samples`
    shareable: bool = False  # whether the samples of one input may be shared
    chunks: list[ChunkCounts] = field(default_factory=list)  # what is already counted of them


def begin(session: Session, claim: Claim, *, device: str | None = None) -> WorkOrder:
    """Mark the claimed shard as running; what there is left to do, on such a ``device``."""
    _start(session, claim)
    shard = _held(session, claim)
    certification = shard.certification
    if shard.state is JobState.QUEUED:
        shard.state = JobState(guard(shard.state, JobState.RUNNING))
    finished = set(_results(session, shard))
    counted = (
        select(Chunk)
        .where(
            Chunk.certification_id == certification.id,
            Chunk.index.between(shard.indices[0], shard.indices[-1]),
            *_of_part(shard),
        )
        .order_by(Chunk.index, Chunk.stage.desc(), Chunk.number)
    )
    chunks = [ChunkCounts(row.index, row.stage, row.number, row.counts, row.scores) for row in session.scalars(counted)]
    model, dataset = certification.model, certification.dataset
    if model.summary is None or dataset.summary is None:
        raise RuntimeError(f"{certification.id} is about a model or data set that intake has not accepted")
    return WorkOrder(
        certification_id=certification.id,
        tenant=certification.tenant,
        method=certification.method,
        model=network_of(session, model),
        denoiser=None if certification.denoiser is None else network_of(session, certification.denoiser),
        x_blob=dataset.summary["x_blob"],
        y_blob=dataset.summary["y_blob"],
        inputs=len(certification.indices),
        grid=dataset.summary.get("grid"),
        indices=[index for index in shard.indices if index not in finished],
        execution=certification.execution,
        executions=executions_of(session, certification) if certification.execution is None else [],
        cross_check=cross_check.drawn(certification.method, model.summary["digest"], certification.indices),
        cost=splits.cost_of_input(certification),
        pace=paces.known(session, certification, device),
        deaths=shard.deaths,
        part=_part(shard),
        shareable=certification.apart is not None,
        chunks=chunks,
    )


def fit(session: Session, claim: Claim, order: WorkOrder, *, seconds: float) -> WorkOrder:
    """Leave the claimed shard what takes about so many ``seconds``, and others the rest; its order from now on. Raises
    ``LostClaim``."""
    _, shard = locked(session, claim)
    indices = splits.fit(session, shard, order.indices, order.pace, seconds)
    part, kept = _part(shard), set(indices)
    chunks = [chunk for chunk in order.chunks if chunk.index in kept]
    if part is not None:
        of_part = (REUSED, *range(part["first"], part["stop"]))
        chunks = [chunk for chunk in chunks if chunk.stage == part["stage"] and chunk.number in of_part]
    return replace(order, indices=indices, part=part, chunks=chunks)


def leave(session: Session, claim: Claim) -> bool:
    """End the claimed shard before its first input without a result, with which another begins; whether there was one
    before it. If not, it is given back as it is. Raises ``LostClaim``."""
    certification, shard = locked(session, claim)
    there = set(_results(session, shard))
    first = next((index for index in shard.indices if index not in there), None)
    if first == shard.indices[0]:
        shard.lease_expires_at = None
        ring_after_commit(session, Bell("shard", shard.id))
        return False
    if first is not None:
        splits.divide(session, shard, first)
    _finish(session, certification, shard, _totals(session, shard))
    return True


def learn(session: Session, claim: Claim, device: str, per_second: float) -> None:
    """Keep the pace that the claimed shard showed on such a device."""
    paces.learn(session, session.get_one(Certification, claim.job), device, per_second)


def _part(shard: Shard) -> Json | None:
    found = splits.shared_stage(shard.certification)
    if shard.first_chunk is None or found is None:
        return None
    stage, samples = found
    return {"stage": stage.name, "first": shard.first_chunk, "stop": shard.stop_chunk, "samples": samples}


def _of_part(shard: Shard) -> list[ColumnElement[bool]]:
    """Conditions for the chunks that a shard needs to know: of a part its own."""
    if shard.first_chunk is None or shard.stop_chunk is None:
        return []
    own = or_(Chunk.number.between(shard.first_chunk, shard.stop_chunk - 1), Chunk.number == REUSED)
    return [Chunk.stage == shard.certification.apart, own]


def executions_of(session: Session, certification: Certification) -> list[Json]:
    """Of its tenant's certifications: no other has any of these models' rows."""
    found = (
        select(Certification.method, Certification.execution)
        .where(
            Certification.model_id == certification.model_id,
            Certification.denoiser_model_id.is_not_distinct_from(certification.denoiser_model_id),
            Certification.execution.is_not(None),
        )
        .order_by(Certification.created_at.desc())
        .limit(RECENT)
    )
    rows = session.execute(found).all()
    return [{**execution, "method": method} for method, execution in rows if execution and "searched" in execution]


def settle(session: Session, claim: Claim, proposal: Json) -> Json:
    """What runs the certification's samples: what the first of its workers proposed. Raises ``LostClaim``."""
    certification, _ = locked(session, claim)
    if certification.execution is None:
        certification.execution = proposal
    return certification.execution


def reuse(session: Session, claim: Claim, streams: Streams) -> list[ChunkCounts]:
    """Take over what the ledger knows of inputs that this certification has counted nothing of; it counts as done. And
    what was taken over before.

    Raises ``LostClaim``.
    """
    shard = _held(session, claim)
    certification = shard.certification
    found = [
        ChunkCounts(index, stage, REUSED, known.counts, known.scores)
        for stage, n in certification.plan.ledger.items()
        for index, known in ledger.beginnings(session, streams, stage, n).items()
    ]
    of_these = Chunk.index.between(shard.indices[0], shard.indices[-1])
    begun = select(Chunk).where(Chunk.certification_id == shard.certification_id, of_these)
    rows = session.scalars(begun).all()
    there = {(row.index, row.stage) for row in rows}
    new = [chunk for chunk in found if (chunk.index, chunk.stage) not in there]
    shard.done += add_chunks(session, shard.certification_id, new)
    before = [row for row in rows if row.number == REUSED]  # this may have been done, unheard of
    return new + [ChunkCounts(row.index, row.stage, REUSED, row.counts, row.scores) for row in before]


def network_of(session: Session, model: Model) -> Network:
    if model.summary is None:
        raise RuntimeError(f"intake has not accepted {model.id}")
    return Network(model.upload.sha256, model.settings, external_blobs(session, model), model.summary["digest"])


def external_blobs(session: Session, model: Model) -> dict[str, str]:
    """The blobs of the model's external weight files, by the name that the model file calls them."""
    named = model.settings["external_data"]  # two names may be one upload
    uploads = session.scalars(select(Upload).where(Upload.id.in_(named.values())))
    sha256 = {upload.id: upload.sha256 for upload in uploads}
    return {name: sha256[upload_id] for name, upload_id in named.items()}


def record(
    session: Session,
    claim: Claim,
    chunks: Sequence[ChunkCounts],
    results: Sequence[InputResult],
    *,
    seconds: float,
    doing: str | None = None,
    report: Json | None = None,
    streams: Streams | None = None,
    question: Question | None = None,
) -> int:
    """Add what was computed, renew the lease for ``seconds``, and forget earlier attempts if anything was new: how much
    was. With ``doing`` it says that from now on.

    A chunk, result or report that is already there counts once. With ``streams`` the ledger learns of each new result,
    and the result of what else was asked before; with ``question`` that is answered from now on. Raises ``LostClaim``
    or ``CountsMismatch``; then nothing of this call was written.
    """
    _keep(session, claim, seconds)
    if doing is not None:
        session.connection().execute(_TELL, {"shard": claim.id, "now": doing})
    if report is not None:
        reports.add_first(session, claim.job, report)
    progress = add_chunks(session, claim.job, chunks)
    if results:
        certification, entries = session.get_one(Certification, claim.job), list[Json]()
        for result in results:
            progress += add_result(session, certification, result, streams, entries)
        ledger.add(session, entries)
        if question is not None:
            answers.add(session, [answers.row(question, certification, result) for result in results])
    if progress:
        _advance(session, claim, progress)
    return progress


def finish(session: Session, claim: Claim) -> None:
    """End the claimed shard. After the last one its certification is due to end. Raises ``LostClaim``."""
    shard = session.get(Shard, claim.id)
    if shard is None:
        raise LostClaim(claim.id)
    ours = _totals(session, shard)  # before others are kept waiting
    certification, shard = locked(session, claim)
    _finish(session, certification, shard, ours)


def _finish(session: Session, certification: Certification, shard: Shard, ours: Totals) -> None:
    if shard.first_chunk is not None:
        if not splits.part_is_counted(session, shard):
            raise CountsMismatch(f"shard {shard.id} ended without all chunks of its part")
    elif missing := len(shard.indices) - ours.inputs:
        raise CountsMismatch(f"shard {shard.id} ended without results for {missing} inputs")
    _end(shard, JobState.SUCCEEDED)
    certifications.add_shard(certification, ours, shard.done)
    if shard.first_chunk is not None:
        splits.put_together(session, shard)
    certifications.shard_ended(session, certification)


def _totals(session: Session, shard: Shard) -> Totals:
    """What the shard adds to its certification's: the result of an input in parts is its last shard's."""
    return Totals() if shard.first_chunk is not None else results.totals_of(session, shard.certification, shard.indices)


def fail(session: Session, claim: Claim, problem: Json) -> None:
    """End the claimed shard's certification as failed; where that has ended, the shard alone. Whose stored files can't
    be read is read anew when it is sent again. Raises ``LostClaim``."""
    unreadable = _unreadable(session, claim, problem)
    certification, shard = locked(session, claim)
    if shard.state is JobState.QUEUED:
        shard.state = JobState(guard(shard.state, JobState.RUNNING))
    _end(shard, JobState.FAILED)
    if certification.state in TERMINAL:  # else whoever takes the shard next would fail to end it, for ever
        return
    certifications.add_shard(certification, _totals(session, shard), shard.done)
    certifications.fail(session, certification, problem)
    for row in unreadable:
        intake.distrust(row)


def _unreadable(session: Session, claim: Claim, problem: Json) -> list[Model | Dataset]:
    """Whose stored files it may be that could not be read, locked: before the certification that needs them, as who
    deletes them does (``deletion``)."""
    whose: dict[str, tuple[type[Model] | type[Dataset], ...]] = {
        Problem.DATA_UNREADABLE.slug: (Dataset,),
        Problem.MODEL_UNREADABLE.slug: (Model,),
        Problem.FILE_MISSING.slug: (Model, Dataset),
    }
    job = session.get(Certification, claim.job)
    if job is None:
        return []
    ids = {Model: (job.model_id, job.denoiser_model_id), Dataset: (job.dataset_id,)}
    found: list[Model | Dataset] = []
    for table in whose.get(str(problem.get("type")).removeprefix("/problems/"), ()):
        query = select(table).where(table.id.in_([row_id for row_id in ids[table] if row_id])).order_by(table.id)
        found += session.scalars(query.with_for_update(of=table).execution_options(populate_existing=True))
    return found


def _end(shard: Shard, state: JobState) -> None:
    shard.state = JobState(guard(shard.state, state))
    shard.lease_expires_at = None


def told(session: Session, certification_id: str, *, most: int) -> tuple[dict[JobState, int], Sequence[Shard]]:
    """How many shards of a certification are in each state; and those under way, or that failed, ``most`` of them."""
    of_this = Shard.certification_id == certification_id
    counts = session.execute(select(Shard.state, func.count()).where(of_this).group_by(Shard.state)).all()
    tell = Shard.state.in_((JobState.RUNNING, JobState.FAILED))
    found = select(Shard).where(of_this, tell).order_by(Shard.start).limit(most)
    return {row[0]: row[1] for row in counts}, session.scalars(found).all()


def _start(session: Session, claim: Claim) -> None:
    """The certification of the claimed shard runs, since now if it did not yet."""
    waits = (Certification.id == claim.job, Certification.state == JobState.QUEUED)
    if session.scalar(select(Certification.id).where(*waits)) is not None:
        running = JobState(guard(JobState.QUEUED, JobState.RUNNING))
        values = {"state": running, "started_at": now(), "version": new_version()}
        session.execute(update(Certification).where(*waits).values(values))


def _held(session: Session, claim: Claim) -> Shard:
    row = held(session, claim)
    if not isinstance(row, Shard):
        raise LostClaim(claim.id)
    return row


def locked(session: Session, claim: Claim) -> tuple[Certification, Shard]:
    """The certification of the claimed shard, and the shard, in the order of locks. Raises ``LostClaim``."""
    certification = certifications.get(session, claim.job, lock=True)
    if certification is None:
        raise LostClaim(claim.id)
    return certification, _held(session, claim)


# These two are of every write while samples are counted. They are built once, which takes longer than to execute them.
_KEEP = (
    update(SHARDS)
    .where(SHARDS.c.id == bindparam("shard"), SHARDS.c.fence == bindparam("held"), SHARDS.c.state.in_(OPEN))
    .values(lease_expires_at=bindparam("until"))
    .returning(SHARDS.c.id)
)
_TELL = update(SHARDS).where(SHARDS.c.id == bindparam("shard")).values(doing=bindparam("now"))
_ADVANCE = (
    update(SHARDS)
    .where(SHARDS.c.id == bindparam("shard"))
    .values(done=SHARDS.c.done + bindparam("progress"), attempts=0, deaths=0)
)


def _keep(session: Session, claim: Claim, seconds: float) -> None:
    """Lock the claimed shard, and renew its lease. Raises ``LostClaim``."""
    until = now() + timedelta(seconds=seconds)
    if session.connection().scalar(_KEEP, {"shard": claim.id, "held": claim.fence, "until": until}) is None:
        raise LostClaim(claim.id)


def _advance(session: Session, claim: Claim, progress: int) -> None:
    """Progress of the claimed (locked) shard; it forgets earlier attempts."""
    session.connection().execute(_ADVANCE, {"shard": claim.id, "progress": progress})


def _results(session: Session, shard: Shard) -> Sequence[int]:
    return session.scalars(
        select(Result.index).where(
            Result.certification_id == shard.certification_id,
            Result.index.between(shard.indices[0], shard.indices[-1]),
        )
    ).all()
