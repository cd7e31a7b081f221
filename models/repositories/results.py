"""Results of a certification, one row an input."""

import json
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from models.base import Json
from models.curve import Outcome
from models.repositories.chunks import InputResult
from models.tables import Certification, Result
from models.totals import Totals, totals

FAILED = Result.detail["problem"].as_string()
"""Why an input has failed, of the result that stands in the place of one."""


def page(
    session: Session, certification_id: str, *, after: int | None, limit: int
) -> tuple[Sequence[Result], int | None]:
    """Up to ``limit`` results with an index above ``after``, in order, and the index to go on after (None: the end)."""
    query = select(Result).where(Result.certification_id == certification_id).order_by(Result.index).limit(limit + 1)
    if after is not None:
        query = query.where(Result.index > after)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1].index if len(rows) > limit else None


def count(session: Session, certification_id: str) -> int:
    """How many there are."""
    of_this = Result.certification_id == certification_id
    return session.execute(select(func.count()).where(of_this)).scalar_one()


def totals_of(session: Session, certification: Certification, indices: range) -> Totals:
    """The sums over those of ``indices``, a part of the certification's, which have a result."""
    if not indices:
        return Totals()
    these = (Result.certification_id == certification.id, Result.index.between(indices[0], indices[-1]))
    attack, noises = (Result.detail[name].as_string() for name in ("attack", "other_noises"))
    attacked = session.execute(select(Result.index, attack).where(*these, attack.is_not(None)))
    failed = session.scalars(select(Result.index).where(*these, FAILED.is_not(None)).order_by(Result.index))
    before = session.scalars(select(noises).where(*these, noises.is_not(None)))
    return totals(
        certification.plan,
        outcomes(session, *these),
        {index: json.loads(text) for index, text in attacked},
        [json.loads(text) for text in before],
        failed.all(),
    )


def failure(session: Session, certification_id: str) -> Json | None:
    """Why the last of its inputs that failed did."""
    these = Result.certification_id == certification_id, FAILED.is_not(None)
    text = session.scalar(select(FAILED).where(*these).order_by(Result.index.desc()).limit(1))
    return None if text is None else dict(json.loads(text))


def failures(session: Session, certification_id: str) -> tuple[int, int]:
    """How many inputs have a result, and how many have failed."""
    of_this = Result.certification_id == certification_id
    there, failed = session.execute(select(func.count(), func.count(FAILED)).where(of_this)).one()
    return there - failed, failed


def median_radius(session: Session, certification_id: str, inputs: int) -> float | None:
    """The median of the radii of ``inputs`` results, which are all; the radius of one that has none is 0."""
    if not inputs:
        return None
    radii = select(func.coalesce(Result.radius, 0.0)).where(Result.certification_id == certification_id)
    middle = radii.order_by(func.coalesce(Result.radius, 0.0)).offset((inputs - 1) // 2).limit(2 - inputs % 2)
    low, *high = session.scalars(middle)
    # Halfway between the two: their sum may overflow, since a radius is the largest float where nothing limits it.
    return low + (high[0] - low) / 2 if high else low


def median(radii: Sequence[float]) -> float | None:
    """What ``median_radius`` is of these, which are all."""
    if not radii:
        return None
    ordered, middle = sorted(radii), (len(radii) - 1) // 2
    low, high = ordered[middle], ordered[len(radii) // 2]
    return low + (high - low) / 2


def outcome_of(result: InputResult) -> Outcome:
    """What ``outcomes`` has of it."""
    said = result.detail.get("decision"), result.detail.get("clean_prediction")
    return Outcome(result.label, result.prediction, result.radius, *said)


def outcomes(session: Session, *which: ColumnElement[bool]) -> list[Outcome]:
    """What curve and summary need of those results."""
    said = (Result.detail["decision"].as_string(), Result.detail["clean_prediction"].as_integer(), FAILED.is_not(None))
    columns = select(Result.label, Result.prediction, Result.radius, *said)
    return [Outcome(*row) for row in session.execute(columns.where(*which))]
