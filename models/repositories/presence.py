"""Workers say that they are there: a beat every few seconds, and silence that lapses."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models.base import now
from models.database import insert
from models.tables import Certification, Dataset, Model, Presence
from models.tenant_session import TenantSession

FORGET = timedelta(hours=1)  # of silence, after which nobody asks what the worker was


def beat(session: Session, name: str, *, seconds: float, **values: Any) -> None:
    """The worker is there for another ``seconds``, and this is what it is and does (columns of ``Presence``)."""
    at = now()
    values |= {"seen_at": at, "expires_at": at + timedelta(seconds=seconds)}
    statement = insert(session, Presence).values(name=name, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[Presence.name], set_=values))


def leave(session: Session, name: str) -> None:
    """The worker has ended, and was there until now."""
    session.execute(delete(Presence).where(Presence.name == name))


def forget(session: Session) -> None:
    """Forget workers that went silent long ago."""
    session.execute(delete(Presence).where(Presence.expires_at < now() - FORGET))


def alive(session: Session, at: datetime | None = None) -> Sequence[Presence]:
    """Who is there, by name."""
    there = Presence.expires_at > (at or now())
    return session.scalars(select(Presence).where(there).order_by(Presence.name)).all()


def own_jobs(session: TenantSession, workers: Sequence[Presence]) -> set[str]:
    """Of what the workers work on, the jobs that are the session's tenant's."""
    ids = [worker.work["job"] for worker in workers if worker.work]
    found: set[str] = set()
    for table in (Certification, Model, Dataset):
        found |= set(session.scalars(select(table.id).where(table.id.in_(ids))))
    return found
