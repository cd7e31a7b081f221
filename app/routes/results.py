"""Results of a certification, one row an input, and the curve that they draw. Both grow while it runs."""

import json
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.auth import Caller
from app.database import TenantDatabase
from app.errors import Refusal
from app.figures import Curve, ResultPage, Units
from app.negotiation import acceptable
from app.parameters import LARGEST_PAGE, PAGE
from app.routes.certifications import INT32, found, patience
from app.service import InService
from models import curve as curves
from models.principal import Principal
from models.problems import Problem
from models.repositories import results
from models.states import JobState
from models.tables import Certification, Result
from models.tenant_session import TenantSession
from radii.methods import Method, parse_method

router = APIRouter(tags=["certifications"])

JSON_LINES = ("application/jsonl", "application/x-ndjson")
LIMIT = f"Rows, at most. Unset: {PAGE} in JSON, all in JSON Lines."
DECIMALS = 9
UNITS: Units = "input values, before (x - mean) / std"


def toward_zero(radius: float | None) -> float | None:
    """``radius`` with at most ``DECIMALS`` decimals, never more than it was (rounding to nearest is monotone)."""
    if radius is None or radius >= 2**53 / 10**DECIMALS:  # doubles lie further apart than that up there
        return radius
    return float(Decimal(repr(radius)).quantize(Decimal(1).scaleb(-DECIMALS), ROUND_DOWN))


def reaching(radius: float) -> float:
    """The least number that ``toward_zero`` does not take below ``radius``."""
    if radius >= 2**53 / 10**DECIMALS:
        return radius
    return float(Decimal(repr(radius)).quantize(Decimal(1).scaleb(-DECIMALS), ROUND_CEILING))


def item(row: Result, method: Method) -> dict[str, Any]:
    """The representation of ``row``: as the method's ``result``, without what is not known of it."""
    return {
        "kind": method.kind,
        "version": 1,
        "index": row.index,
        "label": row.label,
        "prediction": row.prediction,
        # a decision's was given, not computed
        "radius": row.radius if row.detail.get("decision") else toward_zero(row.radius),
        "abstained": row.abstained,
        "norm": method.certifies_in,
        **row.detail,
    }


def page(session: TenantSession, job: Certification, cursor: int, limit: int) -> dict[str, Any]:
    """The representation of up to ``limit`` results after ``cursor``."""
    method = parse_method(job.method)
    rows, after = results.page(session, job.id, after=cursor, limit=limit)
    next_cursor = None if after is None else str(after)
    items = [item(row, method) for row in rows]
    return {"norm": method.certifies_in, "units": UNITS, "items": items, "next_cursor": next_cursor}


@router.get(
    "/certifications/{certification_id}/results",
    response_model=ResultPage,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in JSON_LINES}}},
    summary="Results, one row an input",
)
def index(
    certification_id: str,
    service: InService,
    principal: Caller,
    kind: Annotated[str, Depends(acceptable)],
    cursor: Annotated[int, Query(ge=-1, le=INT32, description="`next_cursor` of the page before.")] = -1,
    limit: Annotated[int | None, Query(ge=1, le=LARGEST_PAGE, description=LIMIT)] = None,
) -> Response:
    """A page of JSON; or, with `Accept: application/jsonl`, JSON Lines. `radius` null is abstention, never 0."""
    with service.database.read(principal) as session:
        job = found(session, certification_id)
        if kind in JSON_LINES:
            lines = _lines(service.database, principal, job.id, parse_method(job.method), cursor, limit)
            return StreamingResponse(lines, media_type=kind)
        return JSONResponse(page(session, job, cursor, limit or PAGE))


@router.get("/certifications/{certification_id}/curve", response_model=Curve, summary="Certified-accuracy curve")
def curve(
    certification_id: str,
    service: InService,
    principal: Caller,
    radius: Annotated[
        float | None,
        Query(ge=0, allow_inf_nan=False, description="To be answered in `at`, once all inputs are done."),
    ] = None,
) -> Response:
    """Of the results so far: certified accuracy at each radius, with a 95 % band for all radii at once. `reading` says
    how it is read, `complete` whether it is of all inputs. A certification that failed has none."""
    with service.database.read(principal) as session:
        job = found(session, certification_id)
        method = parse_method(job.method)
        if method.no_curve is not None:
            raise Refusal(Problem.NOT_FOUND, f"{job.id} {method.no_curve}")
        if job.state is JobState.FAILED:
            raise Refusal(Problem.FAILED, f"{job.id} has failed, so its radii make no curve", cause=job.problem)
        rows = results.outcomes(session, Result.certification_id == job.id)
    target, asked, complete = method.known_up_to, len(job.indices), job.state is JobState.SUCCEEDED
    if target is None:
        rows = [row._replace(radius=toward_zero(row.radius)) for row in rows]
    if radius is not None and not complete:
        why = f"{job.id} is {job.state} with results of {len(rows)} of {asked} inputs"
        raise Refusal(Problem.INCOMPLETE, why, headers=patience(job))
    at = None if radius is None else curves.certified_accuracy(rows, radius, target_radius=target)
    drawn = curves.curve(rows, target_radius=target) | {"inputs_asked": asked, "complete": complete, "at": at}
    return JSONResponse({"norm": method.certifies_in, "units": UNITS, **drawn})


def _lines(
    database: TenantDatabase, principal: Principal, row_id: str, method: Method, cursor: int, limit: int | None
) -> Iterator[bytes]:
    """The rows as JSON Lines. Page by page: a slow reader holds no database connection."""
    after: int | None = cursor
    while after is not None:
        with database.read(principal) as session:
            rows, after = results.page(session, row_id, after=after, limit=limit or PAGE)
            lines = [json.dumps(item(row, method), separators=(",", ":")) + "\n" for row in rows]
        yield "".join(lines).encode()
        after = None if limit else after
