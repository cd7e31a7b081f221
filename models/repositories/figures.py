"""What describes the jobs of all tenants together: a statement for each kind of work, by its index of states, one for
each kind that may fail, and one for the workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, literal_column, select
from sqlalchemy.orm import Session

from models.base import now
from models.ids import made_at
from models.repositories import presence
from models.states import IntakeState, JobState
from models.tables import Certification, Dataset, Model, Presence
from models.work import NOUNS

ENDED_BADLY: dict[str, tuple[type[Any], Any]] = {
    "model": (Model, IntakeState.REJECTED),
    "dataset": (Dataset, IntakeState.REJECTED),
    "certification": (Certification, JobState.FAILED),
}


@dataclass(frozen=True)
class Open:
    """The rows of a kind in one state that is not terminal."""

    kind: str
    state: str
    rows: int
    held: int  # by a worker
    oldest: float  # seconds since it was made


@dataclass(frozen=True)
class Figures:
    """How it looks at a moment."""

    open: Sequence[Open]
    uncut: int  # certifications under way of which another worker could take a part
    failed: dict[tuple[str, str], int]  # rows that are kept, by kind and the problem's name
    workers: Sequence[Presence]


def figures(session: Session) -> Figures:
    """How it looks now."""
    at = now()
    found = [one for name in NOUNS for one in _open(session, name, at)]
    failed = {
        (kind, problem.rpartition("/")[2]): rows
        for kind, (table, state) in ENDED_BADLY.items()
        for problem, rows in _failed(session, table, state)
    }
    dividable = Certification.unsharded > literal_column("0"), Certification.state == JobState.RUNNING
    uncut = session.scalar(select(func.count()).select_from(Certification).where(*dividable)) or 0
    return Figures(found, uncut, failed, presence.alive(session, at))


def _open(session: Session, name: str, at: datetime) -> list[Open]:
    table = NOUNS[name].table
    held = func.sum(case((table.lease_expires_at > at, 1), else_=0))
    # Ids sort by the time that they were made at.
    counted = select(table.state, func.count(), held, func.min(table.id)).where(table.state.in_(NOUNS[name].open))
    return [
        Open(name, state.value, rows, int(working), max(0.0, (at - made_at(oldest)).total_seconds()))
        for state, rows, working, oldest in session.execute(counted.group_by(table.state))
    ]


def _failed(session: Session, table: type[Any], state: Any) -> list[tuple[str, int]]:
    problem = func.coalesce(table.problem["type"].as_string(), "")
    counted = select(problem, func.count()).where(table.state == state).group_by(problem)
    return [(row[0], row[1]) for row in session.execute(counted)]
