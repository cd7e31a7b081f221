"""Tiny jobs, many together: certifications of one shard each, of which nothing is known yet, begun in one transaction
and ended in another. What ``leases``, ``certifications`` and ``shards`` do to one row a time takes a dozen.

A certification is taken where nobody has taken it before. It is cut into its one shard, which is claimed as it is made:
from then on it is a shard like any other, whose lease may lapse, and whose fence decides. Nothing is written until it
ends, and then all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer

from models import cross_check
from models.base import Json, now
from models.ids import SHARD, new_id
from models.plan import Plan
from models.repositories import answers, certifications, ledger, results, turns
from models.repositories.answers import Question
from models.repositories.chunks import ChunkCounts, CountsMismatch, InputResult, check_sums, told
from models.repositories.leases import Claim, LostClaim
from models.repositories.ledger import Streams
from models.repositories.recall import Asked
from models.repositories.shards import Network, WorkOrder, executions_of, network_of
from models.states import JobState, guard
from models.tables import Certification, Result, Shard
from models.totals import totals

Ask = Callable[[WorkOrder], Asked]
Many = Callable[[WorkOrder], int]
"""How many like that order are begun together; 0: it is not to be begun here."""


@dataclass(frozen=True)
class Tiny:
    """A tiny job that was begun: the claim of its shard, what is to be computed, and what is asked."""

    claim: Claim
    order: WorkOrder
    asked: Asked


@dataclass(frozen=True)
class Done:
    """What computing one came to."""

    job: Tiny
    execution: Json | None
    chunks: Sequence[ChunkCounts]
    results: Sequence[InputResult]


def begin(session: Session, ask: Ask, many: Many, *, units: int, worker: str, seconds: float) -> list[Tiny]:
    """Begin the certification whose turn it is, and the oldest others of the same key and rank that ask the same of the
    same model, each with ``units`` of work at most. ``ask``: what an order asks. Empty where it is not as above: it is
    for those who work on one at a time."""
    first = turns.uncut(session)
    if first is None or not _is_tiny(first, units) or first.plan.figures or not first.plan.stages:
        return []
    models: dict[str, Network] = {}
    order = _order(session, first, models)
    found = [(first, order, ask(order))]
    if (most := many(order)) == 0:
        return []
    for row in _alike(session, first, units, most - 1):
        order = _order(session, row, models)
        found.append((row, order, ask(order)))
    question = _question(found[0][2])
    found = [(row, order, asked) for row, order, asked in found if _question(asked) == question]
    taken = _known(session, first.plan, [asked for _, _, asked in found])
    executions = executions_of(session, first)
    until, begun = now() + timedelta(seconds=seconds), list[Tiny]()
    for row, order, asked in found:
        own = set(asked.question.inputs.values())
        if own & taken:  # a second one that asks the same is answered by the first
            if not begun:
                return []
            continue
        taken |= own
        order.executions.extend(executions)
        shard = Shard(
            id=new_id(SHARD),
            certification_id=row.id,
            start=0,
            stop=len(row.indices),
            state=JobState(guard(JobState.QUEUED, JobState.RUNNING)),
            fence=1,
            attempts=1,
            worker=worker,
            lease_expires_at=until,
        )
        session.add(shard)
        row.state, row.unsharded = JobState(guard(row.state, JobState.RUNNING)), 0
        row.started_at = row.served_at = now()
        begun.append(Tiny(Claim("shard", shard.id, 1, 1, row.id), order, asked))
    return begun


def _is_tiny(row: Certification, units: int) -> bool:
    """Whether it is of one shard, and nobody has taken it; of which all is uncut, whoever may have cut some."""
    untouched = row.state is JobState.QUEUED and row.fence == 0 and row.served_at is None
    return untouched and len(row.indices) == row.unsharded <= row.shard_inputs and row.total <= units


def _untouched(units: int) -> Select[Certification]:
    """Those of which ``_is_tiny`` may hold, and that nobody takes now; to be locked."""
    query = select(Certification).where(
        Certification.state == JobState.QUEUED,
        Certification.fence == 0,
        Certification.served_at.is_(None),  # nobody has cut a shard of it
        Certification.unsharded.between(1, Certification.shard_inputs),
        Certification.total <= units,
    )
    return query.options(defer(Certification.done)).with_for_update(of=Certification, key_share=True, skip_locked=True)


def _alike(session: Session, first: Certification, units: int, most: int) -> list[Certification]:
    if most == 0:
        return []
    same = (
        Certification.id != first.id,
        Certification.tenant == first.tenant,
        Certification.rank == first.rank,
        Certification.key_id == first.key_id,
        Certification.model_id == first.model_id,
        Certification.denoiser_model_id.is_not_distinct_from(first.denoiser_model_id),
    )
    rows = session.scalars(_untouched(units).where(*same).order_by(Certification.id).limit(most))
    return [row for row in rows if row.method == first.method and _is_tiny(row, units)]


def _order(session: Session, row: Certification, models: dict[str, Network]) -> WorkOrder:
    for model in (row.model, row.denoiser):
        if model is not None and model.id not in models:
            models[model.id] = network_of(session, model)
    if row.dataset.summary is None or row.model.summary is None:
        raise RuntimeError(f"{row.id} is about a model or data set that intake has not accepted")
    return WorkOrder(
        certification_id=row.id,
        tenant=row.tenant,
        method=row.method,
        model=models[row.model_id],
        denoiser=None if row.denoiser_model_id is None else models[row.denoiser_model_id],
        x_blob=row.dataset.summary["x_blob"],
        y_blob=row.dataset.summary["y_blob"],
        inputs=len(row.indices),
        grid=row.dataset.summary.get("grid"),
        indices=list(row.indices),
        execution=row.execution,
        executions=[],
        cross_check=cross_check.drawn(row.method, row.model.summary["digest"], row.indices),
    )


def _question(asked: Asked) -> tuple[object, ...]:
    """What is the same of jobs that are looked up together."""
    streams = asked.streams and (asked.streams.noise, dict(asked.streams.questions))
    return asked.question.model, asked.question.text, streams


def _known(session: Session, plan: Plan, asked: Sequence[Asked]) -> set[str]:
    """Digests of the inputs of which anything is known: those are for ``recall`` and ``shards.reuse``."""
    merged = _merged(asked)
    inputs = merged.question.inputs
    known = {inputs[number] for number in answers.known(session, merged.question, list(inputs))}
    if merged.streams is not None:
        for stage, n in plan.ledger.items():
            known |= {inputs[number] for number in ledger.beginnings(session, merged.streams, stage, n)}
    return known


def end(session: Session, done: Sequence[Done]) -> None:
    """Write down what was computed, and end those certifications. Raises ``LostClaim``, if one of them was cancelled or
    taken, and ``CountsMismatch``; then nothing of this call was written."""
    jobs = {one.job.claim.job: one for one in done}
    rows = _locked(session, jobs)
    others = _other_noises(session, rows, done)
    entries, new = list[Json](), list[Json]()
    for one in done:
        certification, shard = rows[one.job.claim.job]
        if certification.execution is None:
            certification.execution = one.execution
        for result in one.results:
            taken = [chunk for chunk in one.chunks if chunk.index == result.index]
            check_sums(certification, result, taken)
            streams, question = one.job.asked.streams, one.job.asked.question
            if streams is not None:
                before = others.get(streams.inputs[result.index])
                entries += told(certification.plan, result, taken, streams, before)
            session.add(Result(certification_id=certification.id, **vars(result)))
            new.append(answers.row(question, certification, result))
        _end(session, certification, shard, one)
    session.flush()
    ledger.add(session, entries)
    answers.add(session, new)


def _locked(session: Session, jobs: Mapping[str, Done]) -> dict[str, tuple[Certification, Shard]]:
    """The rows, locked: first the certifications, each kind in one order."""
    which = select(Certification).where(Certification.id.in_(jobs), Certification.state == JobState.RUNNING)
    which = which.options(defer(Certification.done)).order_by(Certification.id)
    found = {row.id: row for row in session.scalars(which.with_for_update(of=Certification, key_share=True))}
    claims = {one.job.claim.id: one.job.claim for one in jobs.values()}
    whose = select(Shard).where(Shard.id.in_(claims), Shard.state == JobState.RUNNING).order_by(Shard.id)
    shards = {row.id: row for row in session.scalars(whose.with_for_update(of=Shard, key_share=True))}
    for claim in claims.values():
        if claim.job not in found or claim.id not in shards or shards[claim.id].fence != claim.fence:
            raise LostClaim(claim.id)
    return {claim.job: (found[claim.job], shards[claim.id]) for claim in claims.values()}


def _other_noises(
    session: Session, rows: Mapping[str, tuple[Certification, Shard]], done: Sequence[Done]
) -> dict[str, list[Json]]:
    """By the digest of an input, the other noises that were asked about."""
    merged = _merged([one.job.asked for one in done])
    if merged.streams is None:
        return {}
    plan = rows[done[0].job.claim.job][0].plan
    found = ledger.other_noises(session, merged.streams, list(merged.streams.inputs), plan)
    return {merged.streams.inputs[number]: noises for number, noises in found.items()}


def _merged(all_asked: Sequence[Asked]) -> Asked:
    """One question about all inputs of those, which are numbered anew."""
    first = all_asked[0]
    digests = sorted({digest for asked in all_asked for digest in asked.question.inputs.values()})
    inputs = dict(enumerate(digests))
    streams = first.streams
    return Asked(
        Question(first.question.tenant, first.question.model, first.question.text, inputs),
        streams and Streams(streams.tenant, streams.model, streams.noise, inputs, streams.questions),
        {},
    )


def _end(session: Session, certification: Certification, shard: Shard, one: Done) -> None:
    said = {result.index: result for result in one.results}
    if len(said) != len(one.results) or sorted(said) != sorted(certification.indices):
        raise CountsMismatch(f"shard {shard.id} ended with results of other inputs than its own")
    ours = totals(
        certification.plan,
        [results.outcome_of(result) for result in one.results],
        {index: result.detail["attack"] for index, result in said.items() if result.detail.get("attack") is not None},
        [result.detail["other_noises"] for result in one.results if "other_noises" in result.detail],
    )
    counted = sum(sum(chunk.counts) for chunk in one.chunks)
    shard.done = counted + sum(result.detail.get("unspent", 0) for result in one.results)
    shard.state, shard.lease_expires_at = JobState(guard(shard.state, JobState.SUCCEEDED)), None
    shard.attempts = 0
    certifications.add_shard(certification, ours, shard.done)
    radii = [0.0 if result.radius is None else result.radius for result in one.results]
    figures = certifications.figures(certification, certification.totals, results.median(radii), None)
    certifications.close(session, certification, figures)
