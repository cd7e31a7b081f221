"""Whole answers, across a tenant's certifications: its very same question about an input needs no network to be
answered again.

The first answer stands. An attack that comes later, on the same radius, is added to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from models.base import Json
from models.counts import ATTACK_FAILED
from models.database import insert
from models.repositories.chunks import InputResult
from models.tables import Answer, Certification

MANY = 500  # values in one statement
OWN = {"seconds", "reused", "other_noises", "answered_by", "attack"}
"""What a result's detail says of its own certification; an attack has a place of its own."""


@dataclass(frozen=True)
class Question:
    """What ``tenant`` asks about a shard's inputs."""

    tenant: str
    model: str
    text: str
    inputs: Mapping[int, str]  # index -> digest


def known(session: Session, question: Question, indices: Iterable[int]) -> dict[int, Answer]:
    """What is known of those inputs."""
    digests = sorted({question.inputs[index] for index in indices})
    found: dict[str, Answer] = {}
    for start in range(0, len(digests), MANY):
        query = select(Answer).where(
            Answer.tenant == question.tenant,
            Answer.model == question.model,
            Answer.input.in_(digests[start : start + MANY]),
            Answer.question == question.text,
        )
        found |= {row.input: row for row in session.scalars(query)}
    return {index: found[digest] for index in indices if (digest := question.inputs[index]) in found}


def row(question: Question, certification: Certification, result: InputResult) -> Json:
    """The row that keeps ``result``."""
    own = OWN.union(certification.plan.passing)
    attack = result.detail.get("attack")
    return {
        "tenant": question.tenant,
        "model": question.model,
        "input": question.inputs[result.index],
        "question": question.text,
        "certification_id": certification.id,
        "prediction": result.prediction,
        "radius": result.radius,
        "abstained": result.abstained,
        "detail": {key: value for key, value in result.detail.items() if key not in own},
        "attack": None if attack is None or attack.get("not_checked") == ATTACK_FAILED else attack,
    }


def add(session: Session, new: list[Json]) -> None:
    """Keep these rows; of what is there already, only an attack that it lacks.

    Call it once in a transaction, after the ledger: rows go in sorted, so that no two transactions wait for each other.
    """
    if not new:
        return
    new_rows = insert(session, Answer)
    late = new_rows.excluded
    lacks = and_(
        Answer.attack.is_(None),
        late["attack"].is_not(None),
        Answer.prediction.is_not_distinct_from(late["prediction"]),
        Answer.radius.is_not_distinct_from(late["radius"]),
    )
    keep = new_rows.on_conflict_do_update(
        index_elements=["tenant", "model", "input", "question"], set_={"attack": late["attack"]}, where=lacks
    )
    session.execute(keep, sorted(new, key=lambda row: (row["input"], row["question"])))
