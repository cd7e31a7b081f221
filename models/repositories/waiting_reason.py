"""Why something waits, in words for who asks: one statement of index reads, and only for what nobody has begun."""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from models.base import now
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
    queue = QUEUES[type(row)]
    ahead = [_ahead(table, row) for table, its in QUEUES.items() if its == queue]
    there, before = session.execute(select(_served(queue), sum(ahead[1:], ahead[0]))).one()
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
    return exists().where(Presence.expires_at > now(), padded.contains(f" {queue} "))


def _ahead(table: type[Any], row: Model | Dataset | Certification) -> ColumnElement[int]:
    """How many rows of ``table`` came before ``row`` and have not ended; ``COUNTED + 1`` stands for more."""
    open_ = table.state.in_(STATES[QUEUES[table]])
    earlier: ColumnElement[bool] = table.created_at < row.created_at
    if isinstance(row, Certification):  # as they take turns (models.repositories.turns), but for that of the keys
        earlier = or_(table.rank < row.rank, and_(table.rank == row.rank, earlier))
    before = select(table.id).where(open_, earlier).limit(COUNTED + 1).subquery()
    return select(func.count()).select_from(before).scalar_subquery()
