"""Why something waits, in words for who asks: one statement of index reads, and only for what nobody has begun."""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from models.base import UtcDateTime, now
from models.states import OPEN, IntakeState, JobState
from models.tables import Certification, Dataset, Model, Presence
from models.work import CERTIFY, INTAKE

COUNTED = 100  # jobs ahead; who has more in front of them need not know how many, and a poll stays cheap

NO_WORKER = "no worker is alive"
NEXT = "next in line"

# Models and data sets wait in one line.
QUEUES: dict[type[Any], str] = {Model: INTAKE, Dataset: INTAKE, Certification: CERTIFY}
STATES = {INTAKE: (IntakeState.VALIDATING,), CERTIFY: OPEN}


def waiting_reason(session: Session, row: Model | Dataset | Certification) -> str | None:
    """Why ``row`` waits; None if it does not. ``session`` is the system's: who is ahead may be another tenant, of whom
    no more is told than that there is one."""
    if row.state not in (JobState.QUEUED, IntakeState.VALIDATING):
        return None
    if not isinstance(row, Certification) and row.lease_expires_at is not None and row.lease_expires_at > now():
        return None  # it is being read
    asked: dict[str, Any] = {"now": now(), "created": row.created_at}
    if isinstance(row, Certification):
        asked["rank"] = row.rank
    there, before = session.connection().execute(AHEAD[type(row)], asked).one()
    if not there:
        return NO_WORKER
    if not before:
        return NEXT
    if before > COUNTED:
        return f"more than {COUNTED} jobs ahead"
    return f"{before} job{'s' * (before != 1)} ahead"


def _served(queue: str) -> ColumnElement[bool]:
    """Whether a worker is there that takes from ``queue``."""
    padded = literal(" ") + Presence.queues + literal(" ")
    return exists().where(Presence.expires_at > bindparam("now", type_=UtcDateTime()), padded.contains(f" {queue} "))


def _ahead(table: type[Any]) -> ColumnElement[int]:
    """How many rows of ``table`` came before and have not ended; ``COUNTED + 1`` stands for more."""
    earlier: ColumnElement[bool] = table.created_at < bindparam("created", type_=UtcDateTime())
    if table is Certification:  # as they take turns (models.repositories.turns), but for that of the keys
        rank: Any = bindparam("rank")
        earlier = or_(table.rank < rank, and_(table.rank == rank, earlier))
    states = STATES[QUEUES[table]]
    before = select(table.id).where(table.state.in_(states), earlier).limit(COUNTED + 1).subquery()
    return select(func.count()).select_from(before).scalar_subquery()


def _statement(queue: str) -> Select[bool, int]:
    ahead = [_ahead(table) for table, its in QUEUES.items() if its == queue]
    return select(_served(queue), sum(ahead[1:], ahead[0]))


# Built once, which takes longer than to execute them.
AHEAD = {table: _statement(queue) for table, queue in QUEUES.items()}
