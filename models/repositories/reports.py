"""Reports of certifications: each is written once, by whichever shard comes first."""

from sqlalchemy.orm import Session

from models.base import Json
from models.database import insert
from models.plan import Plan
from models.tables import Report


def get(session: Session, certification_id: str) -> Json | None:
    """The report of that certification, if there is one yet."""
    row = session.get(Report, certification_id)
    return None if row is None else row.document


def add_first(session: Session, certification_id: str, document: Json) -> None:
    """Keep the report of a certification, unless it has one: each of its shards makes the same."""
    first = insert(session, Report).values(certification_id=certification_id, document=document)
    session.execute(first.on_conflict_do_nothing())


def summary(plan: Plan, document: Json | None) -> Json:
    """The figures of a report that belong in the summary of its certification."""
    if document is None:
        return {}
    return {name: {field: document[field] for field in fields} for name, fields in plan.figures.items()}
