"""Whose turn it is: the next shard for a worker, chosen when it asks. A message says that there is work, and not which.

First what has the smallest rank (``models.precedence``); of that, the key with the fewest shards under way, and of
those with as few the one that was served longest ago; of a key's own, shards that somebody gave back, then the oldest
certification, from which a shard is cut. Every step looks at an index, however much waits.

PostgreSQL lets those who ask at once pass by the rows that others are taking (``SKIP LOCKED``); on SQLite one
transaction writes at a time.
"""

from sqlalchemy import ColumnElement, Select, Subquery, func, literal, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from models.base import now
from models.bell import Bell
from models.database import ring_after_commit
from models.repositories import paces, splits
from models.repositories.leases import Claim, claim, until
from models.states import OPEN
from models.tables import Certification, Shard

TRIES = 20
"""How often somebody else may be quicker, which takes more workers than that."""


def take(session: Session, *, worker: str, device: str | None, seconds: float, shard_seconds: float) -> Claim | None:
    """The claim, for ``seconds``, of a shard that was given back, or is cut now to take about ``shard_seconds`` on such
    a ``device``; None where nothing waits for a worker."""
    for _ in range(TRIES):
        turn = session.execute(_whose()).one_or_none()
        if turn is None:
            return None
        back = session.scalar(_given_back(turn.rank, turn.key_id))
        if back is not None:
            return claim(session, "shard", back, worker=worker, seconds=seconds)
        certification = session.scalar(_oldest(turn.rank, turn.key_id, skip=True))
        if certification is None:  # others are cutting all there are
            certification = session.scalar(_oldest(turn.rank, turn.key_id, skip=False))
        if certification is not None:
            return _cut(session, certification, worker, device, seconds, shard_seconds)
    return None


def due(session: Session) -> str | None:
    """The certification that has been due to end for longest, while nobody ends it."""
    waits = Certification.due_at.is_not(None), Certification.state.in_(OPEN), _free(Certification)
    return session.scalar(select(Certification.id).where(*waits).order_by(Certification.due_at).limit(1))


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


def _free(table: type[Certification] | type[Shard]) -> ColumnElement[bool]:
    return or_(table.lease_expires_at.is_(None), table.lease_expires_at < now())


def _waits() -> tuple[ColumnElement[bool], ...]:
    return Certification.unsharded > 0, Certification.state.in_(OPEN)


def _whose() -> Select[int, str]:
    """The rank and the key that are next."""
    free = (
        select(Certification.rank, Certification.key_id)
        .join(Shard, Shard.certification_id == Certification.id)
        .where(Shard.state.in_(OPEN), _free(Shard))
        .cte("free")
    )
    ranks = union_all(
        select(func.min(Certification.rank).label("rank")).where(*_waits()),
        select(func.min(free.c.rank).label("rank")),
    ).subquery("ranks")
    first = select(func.min(ranks.c.rank)).scalar_subquery()
    # One key after the other, each by a look into the index: there are few keys, and many certifications of each.
    keys = select(func.min(Certification.key_id).label("key_id")).where(*_waits(), Certification.rank == first)
    found = keys.cte("keys", recursive=True)
    later = aliased(Certification)
    following = select(func.min(later.key_id)).where(
        later.unsharded > 0, later.state.in_(OPEN), later.rank == first, later.key_id > found.c.key_id
    )
    found = found.union_all(select(following.scalar_subquery()).where(found.c.key_id.is_not(None)))
    candidates = (
        select(found.c.key_id)
        .where(found.c.key_id.is_not(None))
        .union(select(free.c.key_id).where(free.c.rank == first))
    ).subquery("candidates")
    busy = _busy()
    asked = aliased(Certification)
    served = select(func.max(asked.served_at)).where(asked.key_id == candidates.c.key_id).scalar_subquery()
    return (
        select(first.label("rank"), candidates.c.key_id)
        .join_from(candidates, busy, busy.c.key_id == candidates.c.key_id, isouter=True)
        .order_by(func.coalesce(busy.c.shards, literal(0)), served.is_not(None), served, candidates.c.key_id)
        .limit(1)
    )


def _busy() -> Subquery:
    """How many shards are under way, by key."""
    owner = aliased(Certification)
    return (
        select(owner.key_id, func.count().label("shards"))
        .join(Shard, Shard.certification_id == owner.id)
        .where(Shard.state.in_(OPEN), Shard.lease_expires_at >= now())
        .group_by(owner.key_id)
        .subquery("busy")
    )


def _given_back(rank: int, key_id: str) -> Select[str]:
    """A shard that nobody works on, the oldest first."""
    return (
        select(Shard.id)
        .join(Certification, Certification.id == Shard.certification_id)
        .where(Shard.state.in_(OPEN), _free(Shard), Certification.rank == rank, Certification.key_id == key_id)
        .order_by(Certification.id, Shard.start, Shard.id)
        .limit(1)
        .with_for_update(of=Shard, key_share=True, skip_locked=True)
    )


def _oldest(rank: int, key_id: str, *, skip: bool) -> Select[Certification]:
    """The oldest certification that is not wholly cut, locked; with ``skip`` of those that nobody is cutting."""
    oldest = select(Certification).where(*_waits(), Certification.rank == rank, Certification.key_id == key_id)
    oldest = oldest.order_by(Certification.id).limit(1).execution_options(populate_existing=True)
    return oldest.with_for_update(of=Certification, key_share=True, skip_locked=skip)
