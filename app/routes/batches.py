"""Batches: certifications that are asked for together, watched, cancelled and read as one table."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.auth import Caller
from app.batch_table import CSV, PARQUET, BatchTable, asked_radii, rows, written
from app.combinations import BatchInput, certifications
from app.errors import Refusal
from app.kept import Kept, kept
from app.negotiation import acceptable
from app.parameters import PAGE, BatchCursor, Limit, checked_id, missing
from app.routes.certifications import Progress, progress
from app.schema import Ended, answered, represented
from app.service import NEEDS_ROOM, InService, Service
from app.waiting import Wait, seen
from models.base import now
from models.principal import Principal
from models.problems import Problem
from models.repositories import batches, pages
from models.repositories.batches import Tally
from models.states import TERMINAL, IllegalMove, JobState
from models.tables import Batch, Certification
from models.tenant_session import TenantSession
from radii.methods import AnyMethod

router = APIRouter(tags=["batches"])

MOST_TOLD = 20  # certifications that a batch lists; the table has all


class BatchProgress(BaseModel):
    """How far the work is."""

    done: int = Field(description="Certifications that have ended, in whichever state.")
    total: int = Field(description="Certifications in all.")
    unit: Literal["certifications"] = "certifications"
    fraction: float = Field(
        description="Of the work that is done, or needed no longer. Within a kind of method each certification counts "
        "with its work; between kinds, whose units differ, by how many there are."
    )
    phase: Literal["waiting", "certifying", "ended"] = Field(description="ended: in whichever terminal state.")
    eta_s: int | None = Field(description="Seconds left at the pace so far; null where there is none yet.")


class Member(BaseModel):
    """A certification of a batch."""

    id: str
    index: int = Field(description="Its place in the batch, from 0.")
    model_id: str
    model: str = Field(description="The model's name.")
    dataset_id: str
    dataset: str = Field(description="The data set's name.")
    method: AnyMethod
    state: JobState
    progress: Progress
    problem: dict[str, Any] | None = Field(description="Why it failed.")


class BatchOut(BaseModel):
    """Certifications that were asked for together. A terminal state (`succeeded`, `failed`, `cancelled`) never
    changes: none of them can be deleted without the batch."""

    id: str
    name: str | None
    state: JobState = Field(
        description="`queued` until one of them is begun, `running` until all have ended; then `failed` if one has "
        "failed, else `cancelled` if one was, else `succeeded`."
    )
    ended: Ended
    progress: BatchProgress
    states: dict[JobState, int] = Field(description="How many certifications are in each state.")
    certifications: list[Member] | None = Field(
        description=f"Those under way, then those that failed: the first {MOST_TOLD}. Null in lists."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class BatchPage(BaseModel):
    items: list[BatchOut]
    next_cursor: str | None


def shown(row: Batch, tally: Tally, session: TenantSession | None = None) -> BatchOut:
    """The representation of ``row``; its certifications are looked up in ``session``."""
    state = tally.state
    told = None if session is None else [_member(one) for one in batches.telling(session, row.id, most=MOST_TOLD)]
    return BatchOut(
        id=row.id,
        name=row.name,
        state=state,
        ended=state in TERMINAL,
        progress=_progress(tally),
        states=tally.states,
        certifications=told,
        created_at=row.created_at,
        started_at=tally.started_at,
        finished_at=tally.ended_at if state in TERMINAL else None,
    )


def _member(row: Certification) -> Member:
    own = {name: getattr(row, name) for name in Member.model_fields if name in ("id", "model_id", "dataset_id")}
    named = {"index": row.batch_index, "model": row.model.name, "dataset": row.dataset.name}
    return Member(**own, **named, method=row.method, state=row.state, progress=progress(row), problem=row.problem)


def _progress(tally: Tally) -> BatchProgress:
    state, fraction, eta = tally.state, tally.fraction, None
    if state is JobState.RUNNING and tally.started_at and fraction:
        eta = math.ceil((now() - tally.started_at).total_seconds() * (1 - fraction) / fraction)
    return BatchProgress(
        done=sum(count for one, count in tally.states.items() if one in TERMINAL),
        total=sum(tally.states.values()),
        fraction=fraction,
        phase="ended" if state in TERMINAL else "certifying" if state is JobState.RUNNING else "waiting",
        eta_s=eta,
    )


@router.post(
    "/batches",
    status_code=202,
    dependencies=NEEDS_ROOM,
    response_model=BatchOut,
    responses={
        200: {"description": "The same certifications are this batch already, or it has ended.", "model": BatchOut}
    },
    summary="Start a batch of certifications",
)
async def create(request: Request, body: BatchInput, service: InService, principal: Caller, wait: Wait) -> Response:
    """All of them, or none: what can't be is refused together, each named. Follow `Location` until `ended` is true. The
    same certifications are the same batch, unless that failed or was cancelled: then they are begun anew."""
    row_id, new = await run_in_threadpool(_start, service, principal, body)
    found = await seen(service.watch, Batch, row_id, wait, lambda: _look(service, principal, row_id))
    return answered(request, found, status=202 if new and not found.ended else 200)


def _start(service: Service, principal: Principal, body: BatchInput) -> tuple[str, bool]:
    """The id of the batch, queued, and whether it is new."""
    with service.database.write(principal) as session:
        row, new = batches.add(session, certifications(session, body.questions), name=body.name)
        return row.id, new


@router.get("/batches", summary="List batches, newest first")
def index(service: InService, principal: Caller, cursor: BatchCursor = None, limit: Limit = PAGE) -> BatchPage:
    with service.database.read(principal) as session:
        found, after = pages.newest(session, Batch, before=cursor, limit=limit)
        tallies = batches.tally(session, [row.id for row in found])
        return BatchPage(items=[shown(row, tallies[row.id]) for row in found], next_cursor=after)


@router.get("/batches/{batch_id}", response_model=BatchOut, summary="A batch")
async def show(request: Request, batch_id: str, service: InService, principal: Caller, wait: Wait) -> Response:
    """State and progress. Send `If-None-Match` to get 304 while nothing changes."""
    return answered(
        request, await seen(service.watch, Batch, batch_id, wait, lambda: _look(service, principal, batch_id))
    )


def _look(service: Service, principal: Principal, batch_id: str) -> Kept:
    with service.database.read(principal) as session:
        row = _found(session, batch_id)
        out = shown(row, batches.tally(session, [row.id])[row.id], session)
        headers = _patience(out) | {"Location": f"/v1/batches/{batch_id}"}
        return kept(out, mark=None, ended=out.ended, headers=headers)


@router.post("/batches/{batch_id}/cancel", status_code=202, response_model=BatchOut, summary="Cancel a batch")
def cancel(request: Request, batch_id: str, service: InService, principal: Caller) -> Response:
    """What has not ended of it ends at once, as cancelled. Results that are there stay."""
    with service.database.write(principal) as session:
        row = _found(session, batch_id)
        try:
            batches.cancel(session, row)
        except IllegalMove:
            state = batches.tally(session, [row.id])[row.id].state
            remedy = (
                "A terminal state never changes; a batch that failed or was cancelled is begun anew when asked again."
            )
            raise Refusal(Problem.ALREADY_ENDED, f"{row.id} is {state} already", state=state, remedy=remedy) from None
        out = shown(row, batches.tally(session, [row.id])[row.id], session)
    return represented(request, out, status=202)


@router.get(
    "/batches/{batch_id}/table",
    response_model=BatchTable,
    responses={
        200: {
            "content": {
                CSV: {"schema": {"type": "string"}},
                PARQUET: {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
    summary="A batch as a table, one row a certification",
)
def table(
    batch_id: str,
    service: InService,
    principal: Caller,
    kind: Annotated[str, Depends(acceptable)],
    radii: Annotated[
        str | None, Query(max_length=1000, description="Radii to be answered for, such as `0.25,0.5`.")
    ] = None,
) -> Response:
    """JSON; or, with `Accept: text/csv`, CSV; or, with `Accept: application/vnd.apache.parquet`, Parquet."""
    asked = asked_radii(radii)
    with service.database.read(principal) as session:
        found = rows(session, _found(session, batch_id).id, asked)
    return Response(written(found, asked, kind), media_type=kind)


def _found(session: TenantSession, batch_id: str) -> Batch:
    row = batches.get(session, checked_id("batch", batch_id))
    if row is None:
        raise missing("batch", batch_id)
    return row


def _patience(out: BatchOut) -> dict[str, str]:
    """Ask again after a tenth of the time it has taken, or of what is left if that is less, as of a certification."""
    if out.ended:
        return {}
    taken = (now() - out.started_at).total_seconds() if out.started_at else 0.0
    return {"Retry-After": str(min(10, max(1, int(min(taken, out.progress.eta_s or 0) / 10))))}
