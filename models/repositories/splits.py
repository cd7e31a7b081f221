"""How a certification becomes shards: cut from what is left of it when somebody takes one, as long as its pace says;
and how a shard becomes several.

A shard is a range of inputs or, of an input that alone takes too long, a range of the chunks of its samples: parts.
What a part counts are chunks like any other, each with noise of its own number (docs/numerics.md 6.1), so a last shard
of that input finds them all counted and comes to the very result. Whoever makes a shard has the certification locked.
"""

import math
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from models.bell import Bell
from models.database import ring_after_commit
from models.ids import SHARD, new_id
from models.plan import Stage
from models.states import OPEN, JobState
from models.tables import Certification, Chunk, Result, Shard
from models.tables.chunk import REUSED

CHUNK = 1000
"""Samples of a chunk: CHUNK of radii.smoothing.keys, for ever; a test holds them together."""
LONGEST = 2
"""A shard that would take so many times the time that one is to take is cut again."""
LEAST = 6
"""So many times less than that is the least that is cut off for others to have a share."""
MOST_PARTS = 1000


def cut(session: Session, certification: Certification, inputs: int) -> Shard:
    """The next shard of a (locked) certification, of at most so many inputs."""
    start = len(certification.indices) - certification.unsharded
    stop = min(start + inputs, len(certification.indices))
    shard = Shard(id=new_id(SHARD), certification_id=certification.id, start=start, stop=stop)
    certification.unsharded -= stop - start
    session.add(shard)
    return shard


def inputs_of_next(session: Session, certification: Certification, pace: float | None, seconds: float) -> int:
    """How many inputs the next shard holds, to take so many ``seconds``; fewer near the end, so that all who work on
    it end together. Without a ``pace`` those by which it is measured."""
    if pace is None:
        return certification.shard_inputs
    cost = cost_of_input(certification)
    most = max(1, math.floor(seconds * pace / cost))
    least = max(1, math.floor(seconds / LEAST * pace / cost))
    running = Shard.certification_id == certification.id, Shard.state.in_(OPEN)
    others = session.scalar(select(func.count()).select_from(Shard).where(*running)) or 0
    share = math.ceil(certification.unsharded / (2 * (others + 1)))
    return min(most, max(least, share))


def cost_of_input(certification: Certification) -> int:
    """Units of progress that an input is."""
    return certification.total // len(certification.indices)


def shared_stage(certification: Certification) -> tuple[Stage, int] | None:
    """The stage whose samples workers may share, and how many there are of an input; None where there is none."""
    for stage in certification.plan.stages:
        if stage.name == certification.apart:
            return stage, cost_of_input(certification) if stage.samples is None else stage.samples
    return None


def samples_of(shard: Shard) -> list[int] | None:
    """The first sample of a part of an input, and the one after its last; None for a shard of whole inputs."""
    found = shared_stage(shard.certification)
    if shard.first_chunk is None or shard.stop_chunk is None or found is None:
        return None
    return [shard.first_chunk * CHUNK, min(shard.stop_chunk * CHUNK, found[1])]


def fit(session: Session, shard: Shard, left: Sequence[int], pace: float | None, seconds: float) -> list[int]:
    """Leave a (locked) shard, of whose inputs ``left`` have no result, as much as takes about so many ``seconds``, if
    it would take twice that; others take the rest. Which of ``left`` it has now."""
    left = [index for index in left if index in shard.indices]  # it may have been done, unheard of
    if pace is None or not left:
        return left
    certification = shard.certification
    each = cost_of_input(certification) / pace
    if len(left) > 1 and len(left) * each > LONGEST * seconds:
        keep = max(1, math.floor(seconds / each))
        if keep < len(left):
            divide(session, shard, left[keep])
            left = left[:keep]
    if len(left) == 1 and shard.stop - shard.start == 1 and each > LONGEST * seconds:
        _share(session, shard, pace, seconds)
    return list(left)


def divide(session: Session, shard: Shard, index: int, *, deaths: int = 0) -> Shard:
    """End a (locked) shard before the input ``index``; the shard that begins with it."""
    place = shard.certification.indices.index(index)
    rest = _add(session, shard, start=place, stop=shard.stop, deaths=deaths)
    shard.stop = place
    return rest


def _share(session: Session, shard: Shard, pace: float, seconds: float) -> None:
    """Make parts of a (locked) shard of one input, or of a part that is too long: it becomes the first of them."""
    found = shared_stage(shard.certification)
    if found is None:
        return
    stage, samples = found
    first, stop = shard.first_chunk or 0, shard.stop_chunk or math.ceil(samples / CHUNK)
    first = max(first, _reused(session, shard, stage))
    counted = (
        select(func.count()).select_from(Chunk).where(*_chunks(shard, stage), Chunk.number.between(first, stop - 1))
    )
    if (stop - first - (session.scalar(counted) or 0)) * CHUNK / pace <= LONGEST * seconds:
        return
    each = max(math.ceil((stop - first) / MOST_PARTS), math.floor(seconds * pace / CHUNK), 1)
    shard.first_chunk, shard.stop_chunk = first, min(first + each, stop)
    for begin in range(first + each, stop, each):
        part = _add(session, shard, start=shard.start, stop=shard.stop)
        part.first_chunk, part.stop_chunk = begin, min(begin + each, stop)


def part_is_counted(session: Session, shard: Shard) -> bool:
    """Whether all chunks of a part are there, or the input's result is."""
    assert shard.first_chunk is not None and shard.stop_chunk is not None
    if has_result(session, shard):
        return True
    found = shared_stage(shard.certification)
    assert found is not None
    first = max(shard.first_chunk, _reused(session, shard, found[0]))
    within = Chunk.number.between(first, shard.stop_chunk - 1)
    there = session.scalar(select(func.count()).select_from(Chunk).where(*_chunks(shard, found[0]), within)) or 0
    return there == max(0, shard.stop_chunk - first)


def has_result(session: Session, shard: Shard) -> bool:
    """Whether the first input of the shard has one."""
    key = (shard.certification_id, shard.indices[0])
    return session.get(Result, key) is not None


def put_together(session: Session, shard: Shard) -> None:
    """After a part has ended: if it was the last one of its input, a shard follows that makes the result of them."""
    session.flush()
    others = (
        Shard.certification_id == shard.certification_id,
        Shard.start == shard.start,
        Shard.id != shard.id,
        Shard.state.in_(OPEN),
    )
    if not session.scalar(select(exists().where(*others))):
        _add(session, shard, start=shard.start, stop=shard.stop)


def _add(session: Session, like: Shard, **of_it: int) -> Shard:
    """A shard of the same certification, which somebody is called for."""
    shard = Shard(id=new_id(SHARD), certification_id=like.certification_id, state=JobState.QUEUED, **of_it)
    session.add(shard)
    ring_after_commit(session, Bell("shard", shard.id))
    return shard


def _reused(session: Session, shard: Shard, stage: Stage) -> int:
    """Chunks whose votes came from the ledger, as one sum."""
    counts = session.scalar(select(Chunk.counts).where(*_chunks(shard, stage), Chunk.number == REUSED))
    return 0 if counts is None else math.ceil(sum(counts) / CHUNK)


def _chunks(shard: Shard, stage: Stage) -> tuple[ColumnElement[bool], ...]:
    return Chunk.certification_id == shard.certification_id, Chunk.index == shard.indices[0], Chunk.stage == stage.name
