"""Path and query parameters that several nouns share."""

from collections import Counter
from typing import Annotated, Any

from fastapi import Query, Request

from app.errors import MOST_TEXT, Refusal
from models.ids import BATCH, CERTIFICATION, DATASET, KEY, MODEL, PATTERN
from models.problems import Problem

PAGE = 100
LARGEST_PAGE = 1000

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Rows of a page, at most.")]


def _cursor(prefix: str) -> Any:
    """``next_cursor`` of a list whose ids begin with ``prefix``: one of another list would make a page of nonsense."""
    pattern = PATTERN.pattern.replace("[a-z]{3,4}", prefix)
    return Query(pattern=pattern, description="`next_cursor` of the page before; newest first.")


ModelCursor = Annotated[str | None, _cursor(MODEL)]
DatasetCursor = Annotated[str | None, _cursor(DATASET)]
CertificationCursor = Annotated[str | None, _cursor(CERTIFICATION)]
BatchCursor = Annotated[str | None, _cursor(BATCH)]
KeyCursor = Annotated[str | None, _cursor(KEY)]


async def known_only(request: Request) -> None:
    """Refuse query parameters that the call does not have, and those that stand there more than once."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        has = ", ".join(sorted(known)) or "none"
        raise Refusal(Problem.UNKNOWN_PARAMETER, f"{unknown[0][:MOST_TEXT]!r} is no parameter here; there are: {has}")
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1:
            raise Refusal(Problem.REPEATED_PARAMETER, f"{name!r} is there {times} times")


def checked_id(noun: str, row_id: str) -> str:
    """``row_id``, if an id can look like that (what can't may not even be text to the database)."""
    if not PATTERN.fullmatch(row_id):
        raise missing(noun, row_id)
    return row_id


def missing(noun: str, row_id: str) -> Refusal:
    """There is no such thing."""
    return Refusal(Problem.NOT_FOUND, f"there is no {noun} {row_id[:60]!r}")
