"""Results of a certification, one row an input."""

import json
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.base import Json
from models.curve import Outcome
from models.tables import Result


def page(
    session: Session, certification_id: str, *, after: int | None, limit: int
) -> tuple[Sequence[Result], int | None]:
    """Up to ``limit`` results with an index above ``after``, in order, and the index to go on after (None: the end)."""
    query = select(Result).where(Result.certification_id == certification_id).order_by(Result.index).limit(limit + 1)
    if after is not None:
        query = query.where(Result.index > after)
    rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1].index if len(rows) > limit else None


def attacks(session: Session, certification_id: str) -> dict[int, Json]:
    """What the attacks on those inputs that were attacked say."""
    attacked = Result.detail["attack"].as_string().is_not(None)
    rows = session.scalars(select(Result).where(Result.certification_id == certification_id, attacked))
    return {row.index: row.detail["attack"] for row in rows}


def other_noises(session: Session, certification_id: str) -> Json | None:
    """Under what other noises its inputs had been certified before, and how many of them; None if none had."""
    column = Result.detail["other_noises"].as_string()
    rows = session.scalars(select(column).where(Result.certification_id == certification_id, column.is_not(None)))
    found = [json.loads(text) for text in rows]
    union = {json.dumps(noise, sort_keys=True): noise for noises in found for noise in noises}
    return {"inputs": len(found), "noises": [union[key] for key in sorted(union)]} if found else None


def outcomes(session: Session, certification_id: str) -> list[Outcome]:
    """What curve and summary need of all results."""
    said = (Result.detail["decision"].as_string(), Result.detail["clean_prediction"].as_integer())
    columns = select(Result.label, Result.prediction, Result.radius, *said)
    return [Outcome(*row) for row in session.execute(columns.where(Result.certification_id == certification_id))]
