"""Who works on a row: claim, renew, release, and what nobody works on.

Liveness rests on clocks (a lease expires), exactness does not: every claim raises the row's fence, and a write whose
fence is not the row's is refused (``LostClaim``). Clocks of worker machines should agree within a few seconds.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.orm import Session

from models.base import Json, now
from models.bell import Bell
from models.metrics import LAPSED
from models.problems import Problem
from models.tables import Leased
from models.work import NOUNS

LOOK_AT_THE_MACHINE = (
    "Look at that machine, its memory above all, and at the worker's log under the id `log`; then start it again. "
    "Workers whose clocks differ, or that stall for longer than RADII_LEASE_SECONDS, take rows from one another."
)


class Claim(NamedTuple):
    """The right to work on a row, good while the row's fence is this one."""

    noun: str
    id: str
    fence: int
    attempts: int  # claims since the last progress, this one included
    job: str  # what a user knows the row by: of a shard its certification

    @property
    def log_id(self) -> str:
        """What each log line of this attempt has: ``cert_.../shd_.../3``, the third claim."""
        return log_id(self.job, self)


class Claimed(Protocol):
    """A row, or a claim of one."""

    @property
    def id(self) -> str: ...

    @property
    def fence(self) -> int: ...


def log_id(job: str, claimed: Claimed) -> str:
    """What the log calls the last attempt at a row of that job."""
    return "/".join((*dict.fromkeys((job, claimed.id)), str(claimed.fence)))


class LostClaim(Exception):
    """Another worker has the row, or it has ended. Stop working on it; nothing was written."""


def _claimed(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the row while it is the claimer's."""
    kind = NOUNS[claim.noun]
    return kind.table.id == claim.id, kind.table.fence == claim.fence, kind.table.state.in_(kind.open)


def until(seconds: float) -> datetime:
    """When a lease of so many ``seconds`` expires."""
    return now() + timedelta(seconds=seconds)


def _open(noun: str, row_id: str | None = None) -> list[ColumnElement[bool]]:
    """Conditions for rows of ``noun`` that have work left and nobody working."""
    kind = NOUNS[noun]
    table = kind.table
    free = or_(table.lease_expires_at.is_(None), table.lease_expires_at < now())
    due = [] if kind.due is None else [kind.due]
    return [table.state.in_(kind.open), free, *due] + ([table.id == row_id] if row_id else [])


def claim(session: Session, noun: str, row_id: str, *, worker: str, seconds: float) -> Claim | None:
    """Take the row for ``seconds``, in one conditional UPDATE; None if it has ended or another worker has it.

    The row is locked first, by a statement before: after waiting for a lock PostgreSQL looks at the row anew, but in a
    subquery, of whether a certification is due, it goes on seeing what there was before it waited.
    """
    table = NOUNS[noun].table
    job = getattr(table, NOUNS[noun].job)
    asked = select(table.id, table.fence, table.worker, table.lease_expires_at, job.label("job")).where(
        *_open(noun, row_id)
    )
    asked = asked.with_for_update(of=table, key_share=True)
    before = session.execute(asked).one_or_none()
    if before is None:
        return None
    silent: dict[str, Json] = {}
    if before.lease_expires_at is not None:  # nobody gave it back
        detail = (
            f"The worker {before.worker} went silent: it was killed, or its machine or its way to the database is gone."
        )
        said = {"worker": before.worker, "attempts": before.fence, "log": log_id(before.job, before)}
        said |= {"shard": row_id} if noun == "shard" else {}
        LAPSED.labels(noun).inc()
        silent["cause"] = Problem.WORKER_LOST.document(detail, remedy=LOOK_AT_THE_MACHINE, **said)
    statement = (
        update(table)
        .where(*_open(noun, row_id))
        .values(
            fence=table.fence + 1,
            attempts=table.attempts + 1,
            lease_expires_at=now() + timedelta(seconds=seconds),
            worker=worker,
            **silent,
        )
        .returning(table.fence, table.attempts)
    )
    taken = session.execute(statement).one_or_none()
    return None if taken is None else Claim(noun, row_id, taken.fence, taken.attempts, before.job)


def renew(session: Session, claim: Claim, *, seconds: float) -> None:
    """Keep the row for another ``seconds``. Raises ``LostClaim``."""
    _write(session, claim, lease_expires_at=now() + timedelta(seconds=seconds))


def release(
    session: Session, claim: Claim, *, blameless: bool, cause: Json | None = None, rest: float | None = None
) -> None:
    """Give the row back for anyone to take at once, or after ``rest`` seconds, in which others have their turns.
    ``blameless`` (a shutdown): the attempt does not count. ``cause``: how it was lost."""
    table = NOUNS[claim.noun].table
    attempts = case((table.attempts > 0, table.attempts - 1), else_=0) if blameless else table.attempts
    again = None if rest is None else until(rest)
    _write(session, claim, lease_expires_at=again, attempts=attempts, **({} if cause is None else {"cause": cause}))


def attempts(session: Session, claim: Claim) -> tuple[int, Json | None]:
    """Claims of the row since its last progress, and how the last one that was lost ended. Raises ``LostClaim`` where
    there is no such row any more."""
    table = NOUNS[claim.noun].table
    row = session.execute(select(table.attempts, table.cause).where(table.id == claim.id)).one_or_none()
    if row is None:
        raise LostClaim(claim.id)
    return row.attempts, row.cause


def held(session: Session, claim: Claim) -> Leased:
    """The row, locked for the rest of the transaction. Raises ``LostClaim`` if it is no longer the claimer's."""
    table, conditions = NOUNS[claim.noun].table, _claimed(claim)
    # FOR NO KEY UPDATE: rows that refer to this one may be written meanwhile.
    query = select(table).where(*conditions).with_for_update(of=table, key_share=True)
    row = session.scalar(query.execution_options(populate_existing=True))
    if not isinstance(row, Leased):
        raise LostClaim(f"{claim.noun} {claim.id}, fence {claim.fence}")
    return row


def unattended(session: Session, *, limit: int = 1000) -> Iterator[Bell]:
    """Bells for everything that has work left and nobody working."""
    for noun, kind in NOUNS.items():
        table = kind.table
        waits = _open(noun) if kind.sought is None else [table.state.in_(kind.open), kind.sought]
        for row_id in session.scalars(select(table.id).where(*waits).order_by(table.id).limit(limit)):
            yield Bell(noun, row_id)


def abandoned(session: Session, noun: str) -> str | None:
    """The oldest row of ``noun`` whose worker went silent in the middle of it. (A row given back has no lease.)"""
    table = NOUNS[noun].table
    lapsed = (*_open(noun), table.lease_expires_at.is_not(None))
    return session.scalar(select(table.id).where(*lapsed).order_by(table.id).limit(1))


def _write(session: Session, claim: Claim, **values: object) -> None:
    table, conditions = NOUNS[claim.noun].table, _claimed(claim)
    done = session.execute(update(table).where(*conditions).values(**values).returning(table.id)).one_or_none()
    if done is None:
        raise LostClaim(f"{claim.noun} {claim.id}, fence {claim.fence}")
