"""Chunks and results of a shard: a chunk counts once, and a result takes its chunks' place if it holds their sums."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, column, delete, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models.base import JSON_COLUMN, Json
from models.counts import ChunkCounts as ChunkCounts
from models.counts import Counts
from models.counts import InputResult as InputResult
from models.plan import Plan
from models.repositories import ledger
from models.repositories.ledger import Beginning, Streams
from models.tables import Certification, Chunk, Result
from models.tables.chunk import REUSED

CHUNKS, RESULTS = (row.metadata.tables[row.__tablename__] for row in (Chunk, Result))
COLUMNS = ("index", "stage", "number", "counts", "scores")  # of a chunk
MEAN_ROUNDING = 1e-9  # a million chunks merged one after the other, each to 2^-53


Counted = Sequence[Chunk | ChunkCounts]


class CountsMismatch(Exception):
    """What a shard says does not add up with its chunks: no certificate may be given. This is a bug in radii."""


def add_chunks(session: Session, job: str, chunks: Sequence[ChunkCounts]) -> int:
    """Insert the chunks of certification ``job`` that are not there yet, and whose inputs have no result; how many
    samples they hold."""
    if not chunks:
        return 0
    connection = session.connection()
    new = ADD_CHUNKS[connection.dialect.name]
    added = connection.scalars(new, {"job": job, "chunks": [vars(chunk) for chunk in chunks]})
    return sum(sum(counts) for counts in added)


def _recordset(chunks: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    columns = (column(name, CHUNKS.c[name].type) for name in COLUMNS)
    return list(func.jsonb_to_recordset(chunks).table_valued(*columns).render_derived(with_types=True).c)


def _json_each(chunks: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    row = func.json_each(chunks).table_valued("value").c.value
    return [func.json_extract(row, f"$.{name}") for name in COLUMNS]


def _add_chunks(insert: Any, rows_of: Callable[[ColumnElement[Any]], list[ColumnElement[Any]]]) -> Any:
    """One statement however many chunks there are, whose text is short and always the same: building it takes as long
    as executing it, and PostgreSQL parses it once."""
    job, sent = bindparam("job", type_=String), rows_of(bindparam("chunks", type_=JSON_COLUMN))
    over = exists().where(RESULTS.c.certification_id == job, RESULTS.c.index == sent[0])
    new = insert(CHUNKS).from_select(["certification_id", *COLUMNS], select(job, *sent).where(~over))
    return new.on_conflict_do_nothing().returning(CHUNKS.c.counts)


ADD_CHUNKS = {
    "postgresql": _add_chunks(postgresql.insert, _recordset),
    "sqlite": _add_chunks(sqlite.insert, _json_each),
}


def add_result(
    session: Session, job: Certification, result: InputResult, streams: Streams | None, entries: list[Json]
) -> int:
    """Insert the result if it is not there yet; how much progress that is. ``entries`` gets what the ledger is to know.

    Samples counted when their chunks came; those that a decision did not need count now. Raises ``CountsMismatch``.
    """
    if session.get(Result, (job.id, result.index)) is not None:
        return 0
    if job.plan.stages:
        of_input = (Chunk.certification_id == job.id, Chunk.index == result.index)
        taken = session.scalars(select(Chunk).where(*of_input)).all()
        check_sums(job, result, taken)
        session.execute(delete(Chunk).where(*of_input))
        if streams is not None:
            others = ledger.other_noises(session, streams, [result.index], job.plan)
            entries += told(job.plan, result, taken, streams, others.get(result.index))
    session.add(Result(certification_id=job.id, **asdict(result)))
    if job.plan.stages:
        return int(result.detail.get("unspent", 0))
    return job.total // len(job.indices)


def told(
    plan: Plan, result: InputResult, taken: Counted, streams: Streams, other_noises: list[Json] | None
) -> list[Json]:
    """What the ledger is to know of a result; to which it is added what it reused, and what else was asked before."""
    result.detail["reused"] = sum(sum(chunk.counts) for chunk in taken if chunk.number == REUSED)
    if other_noises is not None:
        result.detail["other_noises"] = other_noises
    return [
        ledger.row(streams, result.index, stage, known)
        for stage, beginnings in _known(plan, taken, result).items()
        for known in beginnings
        if known.samples
    ]


def check_sums(job: Certification, result: InputResult, taken: Counted) -> None:
    """The result must hold the sums of its input's chunks (docs/numerics.md 7.3). Raises ``CountsMismatch``."""
    where = f"input {result.index} of {job.id}"
    sums = _sums(taken)
    said = {stage.name: result.detail[stage.counts] for stage in job.plan.stages}
    said = {stage: counts for stage, counts in said.items() if any(counts)}  # a decision may need no sample
    if sums != said or sum(result.detail["counts"]) != result.detail["n"]:
        raise CountsMismatch(f"{where}: chunks sum to {sums}, not {said}")
    if "scores" in result.detail:
        fresh = [(sum(c.counts), c.scores["mean"]) for c in taken if c.stage == "estimate" and c.scores]
        for j, mean in enumerate(result.detail["scores"]["mean"]):
            total = math.fsum(n * means[j] for n, means in fresh) / result.detail["n"]
            if not abs(total - mean) <= MEAN_ROUNDING:
                raise CountsMismatch(f"{where}: the mean of its chunks is {total}, not {mean}")


def _known(plan: Plan, taken: Counted, result: InputResult) -> dict[str, list[Beginning]]:
    """What the ledger is to know of each stage: of all samples, and of chunks that more samples would not change."""
    sums, detail = _sums(taken), result.detail
    if "scores" in detail:
        [pilot] = [chunk.scores for chunk in taken if chunk.stage == "pilot"]
        return {
            "pilot": [Beginning(sums["pilot"], pilot)],
            "estimate": [Beginning(sums["estimate"], detail["scores"])],
        }
    if kept := {stage.name: stage.keeps for stage in plan.stages if stage.keeps}:
        return {
            stage: [Beginning(counts, {name: detail[name] for name in kept[stage]})] for stage, counts in sums.items()
        }
    whole = _sums([chunk for chunk in taken if sum(chunk.counts) % ledger.CHUNK == 0])
    known = {stage: [Beginning(counts), Beginning(whole.get(stage, []))] for stage, counts in sums.items()}
    if "estimate" in sums and detail.get("decision") is not None:  # it looks at beginnings of many chunks
        decided = {"decision": detail["decision"], "prediction": result.prediction}
        known["estimate"] = [Beginning(sums["estimate"], decided, asked=detail["n"] + detail["unspent"])]
    return known


def _sums(taken: Counted) -> dict[str, Counts]:
    """The counts of all chunks of a stage, by stage."""
    stages: dict[str, list[Counts]] = {}
    for chunk in taken:
        stages.setdefault(chunk.stage, []).append(chunk.counts)
    return {stage: [sum(of_class) for of_class in zip(*counts, strict=True)] for stage, counts in stages.items()}
