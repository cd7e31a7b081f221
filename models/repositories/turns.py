"""Whose turn it is: the next shard for a worker, chosen when it asks. A message says that there is work, and not which.

First what has the smallest rank (``models.precedence``); of that, the key with the fewest shards under way, and of
those with as few the one that was served longest ago; of a key's own, shards that somebody gave back, then the oldest
certification, from which a shard is cut. Every step looks at an index, however much waits.

PostgreSQL lets those who ask at once pass by the rows that others are taking (``SKIP LOCKED``); on SQLite one
transaction writes at a time.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, func, literal_column, or_, select, union_all
from sqlalchemy.orm import Session, defer

from models.base import UtcDateTime, now
from models.bell import Bell
from models.database import ring_after_commit
from models.repositories import paces, splits
from models.repositories.leases import Claim, claim, until
from models.states import OPEN
from models.tables import Certification, Shard

JOBS, SHARDS = (table.metadata.tables[table.__tablename__] for table in (Certification, Shard))
NOW: Any = bindparam("now", type_=UtcDateTime())
NONE: Any = literal_column(
    "0"
)  # no parameter: SQLite uses an index of some rows where the words say that they are those

TRIES = 20
"""How often somebody else may be quicker, which takes more workers than that."""


def take(session: Session, *, worker: str, device: str | None, seconds: float, shard_seconds: float) -> Claim | None:
    """The claim, for ``seconds``, of a shard that was given back, or is cut now to take about ``shard_seconds`` on such
    a ``device``; None where nothing waits for a worker."""
    for _ in range(TRIES):
        turn = session.connection().execute(WHOSE, {"now": now()}).one_or_none()
        if turn is None:
            return None
        mine = {"rank": turn.rank, "key": turn.key_id}
        back = session.connection().scalar(GIVEN_BACK, {"now": now(), **mine}) if turn.free else None
        if back is not None:
            return claim(session, "shard", back, worker=worker, seconds=seconds)
        certification = session.scalar(OLDEST_UNLOCKED, mine)
        if certification is None:  # others are cutting all there are
            certification = session.scalar(OLDEST, mine)
        if certification is not None:
            return _cut(session, certification, worker, device, seconds, shard_seconds)
    return None


def uncut(session: Session) -> Certification | None:
    """The certification of which the next shard would be cut, locked; None where a shard that was given back is next,
    or nothing waits."""
    turn = session.connection().execute(WHOSE, {"now": now()}).one_or_none()
    if turn is None or turn.free:
        return None
    found: Certification | None = session.scalar(OLDEST_UNLOCKED, {"rank": turn.rank, "key": turn.key_id})
    return found


def due(session: Session) -> str | None:
    """The certification that has been due to end for longest, while nobody ends it."""
    row_id: str | None = session.connection().scalar(DUE, {"now": now()})
    return row_id


def _cut(
    session: Session,
    certification: Certification,
    worker: str,
    device: str | None,
    seconds: float,
    shard_seconds: float,
) -> Claim:
    pace = paces.known(session, certification, device)
    shard = splits.cut(session, certification, splits.inputs_of_next(session, certification, pace, shard_seconds))
    shard.fence = shard.attempts = 1
    shard.worker, shard.lease_expires_at = worker, until(seconds)
    certification.served_at = now()
    if certification.unsharded:  # as many messages as certifications that wait
        ring_after_commit(session, Bell("certification", certification.id))
    session.flush()
    return Claim("shard", shard.id, shard.fence, shard.attempts, certification.id)


# The statements are built once: that takes longer than to execute them.


def _open(table: FromClause) -> ColumnElement[bool]:
    return table.c.state.in_([literal_column(f"'{state}'") for state in OPEN])


def _free(table: FromClause) -> ColumnElement[bool]:
    """Nobody works on it."""
    return or_(table.c.lease_expires_at.is_(None), table.c.lease_expires_at < NOW)


def _waits(table: FromClause) -> tuple[ColumnElement[bool], ...]:
    """Some of it is of no shard yet."""
    return table.c.unsharded > NONE, _open(table)


def _whose() -> Select[int, str, int]:
    """The rank and the key that are next, and how many shards of theirs are to be taken as they are."""
    shards = select(JOBS.c.rank, JOBS.c.key_id, func.count().label("shards")).join_from(SHARDS, JOBS)
    free = shards.where(_open(SHARDS), _free(SHARDS)).group_by(JOBS.c.rank, JOBS.c.key_id).cte("free")
    smallest = select(JOBS.c.rank).where(*_waits(JOBS)).order_by(JOBS.c.rank).limit(1).subquery("smallest")
    ranks = union_all(select(smallest.c.rank), select(func.min(free.c.rank))).subquery("ranks")
    top = select(func.min(ranks.c.rank).label("rank")).cte("top")
    first = select(top.c.rank).scalar_subquery()
    # One key after the other, each by a look into the index: there are few keys, and many certifications of each.
    found = select(JOBS.c.key_id).where(*_waits(JOBS), JOBS.c.rank == first).order_by(JOBS.c.key_id).limit(1)
    keys = select(found.scalar_subquery().label("key_id")).cte("keys", recursive=True)
    later = JOBS.alias("later")
    following = select(later.c.key_id).where(*_waits(later), later.c.rank == first, later.c.key_id > keys.c.key_id)
    following = following.order_by(later.c.key_id).limit(1)
    keys = keys.union_all(select(following.scalar_subquery()).where(keys.c.key_id.is_not(None)))
    waiting = select(keys.c.key_id).where(keys.c.key_id.is_not(None))
    candidates = waiting.union(select(free.c.key_id).where(free.c.rank == first)).subquery("candidates")
    owners = JOBS.alias("owners")
    busy = select(owners.c.key_id, func.count().label("shards")).join_from(
        SHARDS, owners, owners.c.id == SHARDS.c.certification_id
    )
    busy = busy.where(_open(SHARDS), SHARDS.c.lease_expires_at >= NOW).group_by(owners.c.key_id)
    under_way = busy.subquery("under_way")
    served_jobs = JOBS.alias("served_jobs")
    served = select(func.max(served_jobs.c.served_at)).where(served_jobs.c.key_id == candidates.c.key_id)
    last = served.scalar_subquery()
    there = select(func.coalesce(func.sum(free.c.shards), NONE)).where(free.c.rank == first)
    there = there.where(free.c.key_id == candidates.c.key_id)
    return (
        select(first.label("rank"), candidates.c.key_id, there.scalar_subquery().label("free"))
        .join_from(candidates, under_way, under_way.c.key_id == candidates.c.key_id, isouter=True)
        .order_by(func.coalesce(under_way.c.shards, NONE), last.is_not(None), last, candidates.c.key_id)
        .limit(1)
    )


def _oldest(*, skip: bool) -> Select[Certification]:
    """The oldest certification that is not wholly cut, locked; with ``skip`` of those that nobody is cutting."""
    mine = JOBS.c.rank == bindparam("rank"), JOBS.c.key_id == bindparam("key")
    oldest = select(Certification).options(defer(Certification.done)).where(*_waits(JOBS), *mine)
    oldest = oldest.order_by(JOBS.c.id).limit(1).execution_options(populate_existing=True)
    return oldest.with_for_update(of=Certification, key_share=True, skip_locked=skip)


WHOSE = _whose()
OLDEST_UNLOCKED, OLDEST = _oldest(skip=True), _oldest(skip=False)
GIVEN_BACK = (
    select(SHARDS.c.id)
    .join_from(SHARDS, JOBS)
    .where(_open(SHARDS), _free(SHARDS), JOBS.c.rank == bindparam("rank"), JOBS.c.key_id == bindparam("key"))
    .order_by(JOBS.c.id, SHARDS.c.start, func.coalesce(SHARDS.c.first_chunk, NONE), SHARDS.c.id)
    .limit(1)
    .with_for_update(of=SHARDS, key_share=True, skip_locked=True)
)
DUE = (
    select(JOBS.c.id)
    # Of its lease in words that are of no other index, which would find all that is open.
    .where(JOBS.c.due_at.is_not(None), _open(JOBS), func.coalesce(JOBS.c.lease_expires_at, JOBS.c.due_at) < NOW)
    .order_by(JOBS.c.due_at)
    .limit(1)
)
