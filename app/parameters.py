"""Path and query parameters that several nouns share."""

from typing import Annotated

from fastapi import Query, Request

from app.errors import MOST_TEXT, Refusal
from models.ids import PATTERN
from models.problems import Problem

PAGE = 100
LARGEST_PAGE = 1000

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows of a page, at most.")]
IdCursor = Annotated[
    str | None, Query(pattern=PATTERN.pattern, description="`next_cursor` of the page before; newest first.")
]


def known_only(request: Request) -> None:
    """Refuse query parameters that the call does not have."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        has = ", ".join(sorted(known)) or "none"
        raise Refusal(Problem.UNKNOWN_PARAMETER, f"{unknown[0][:MOST_TEXT]!r} is no parameter here; there are: {has}")


def checked_id(noun: str, row_id: str) -> str:
    """``row_id``, if an id can look like that (what can't may not even be text to the database)."""
    if not PATTERN.fullmatch(row_id):
        raise missing(noun, row_id)
    return row_id


def missing(noun: str, row_id: str) -> Refusal:
    """There is no such thing."""
    return Refusal(Problem.NOT_FOUND, f"there is no {noun} {row_id[:60]!r}")
