"""Certifications: listed, watched, cancelled. How one starts: `app.routes.new_certification`."""

import math
from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.auth import Caller
from app.errors import Refusal
from app.figures import Summary
from app.parameters import PAGE, CertificationCursor, Limit, checked_id, missing
from app.polls import polled
from app.schema import Ended, Input, represented
from app.service import InService, Service
from app.waiting import Wait
from models.base import now
from models.principal import Principal
from models.problems import Problem
from models.repositories import certifications, leases, pages, shards, splits
from models.states import TERMINAL, IllegalMove, JobState
from models.tables import Certification, Shard
from models.tenant_session import TenantSession
from radii.methods import AnyMethod, kind_of

router = APIRouter(tags=["certifications"])

INT32 = 2**31 - 1
MOST_SHARDS = 20  # that a certification lists; it may have as many as inputs


class Subset(Input):
    """The inputs start, start + step, ... below stop."""

    start: int = Field(default=0, ge=0, le=INT32)
    stop: int | None = Field(default=None, ge=0, le=INT32, description="Unset: the end of the data set.")
    step: int = Field(default=1, ge=1, le=INT32)


class Progress(BaseModel):
    """How far the work is."""

    done: int = Field(description="Units of work done: counted, reused, or found not to be needed.")
    total: int = Field(description="Units of work in all.")
    unit: Literal["samples", "inputs"] = Field(
        description="lipschitz, local: inputs. Else samples (splitting: offsets)."
    )
    fraction: float = Field(description="done / total.")
    phase: Literal["waiting", "certifying", "ended"] = Field(description="ended: in whichever terminal state.")
    eta_s: int | None = Field(description="Seconds left at the pace so far; null where there is none yet.")


class ShardOut(BaseModel):
    """What one worker takes at a time: the inputs `start` to `stop - 1` of the subset, counted from 0."""

    id: str
    state: JobState
    ended: Ended
    start: int
    stop: int
    samples: list[int] | None = Field(
        description="Of one input that workers share: its samples from the first to before the second; null: all."
    )
    attempts: int = Field(description="How often a worker took it up.")
    worker: str | None = Field(description="Who took it up last: machine/process.")
    doing: str | None = Field(description='What the worker was last heard to do, in words that follow "while".')
    log: str = Field(description="What each line about the last attempt has in the log of that worker.")
    cause: dict[str, Any] | None = Field(description="How the last attempt that was lost ended: a problem.")


class Shards(BaseModel):
    """Who works on it."""

    states: dict[JobState, int] = Field(description="How many shards are in each state.")
    items: list[ShardOut] = Field(description=f"Those under way, and one that failed: the first {MOST_SHARDS}.")


class CertificationOut(BaseModel):
    """A certification: a job. A terminal state (`succeeded`, `failed`, `cancelled`) never changes."""

    id: str
    state: JobState
    ended: Ended
    model_id: str
    denoiser_model_id: str | None
    dataset_id: str
    method: AnyMethod
    subset: Subset
    priority: int = Field(description="0 to 9: higher goes first.")
    interactive: bool = Field(description="Small, and waited for: it goes before those that nobody waits for.")
    progress: Progress
    partial: bool = Field(
        description="Some of its inputs failed, each for itself: they count as not certified. The others stand."
    )
    failed_indices: list[int] = Field(description="Those inputs; the `problem` of each is in its result.")
    summary: Summary | None = Field(description="Once it has ended.")
    problem: dict[str, Any] | None = Field(
        description="Why it failed, and where: `shard`, `worker`, `attempts`, and `log`, which lines about it have."
    )
    shards: Shards | None = Field(description="Null in lists.")
    waiting: str | None = Field(
        default=None,
        description="Why it has not begun: `no worker is alive`, `3 jobs ahead`, `next in line`. Null in lists.",
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class CertificationPage(BaseModel):
    items: list[CertificationOut]
    next_cursor: str | None


def shown(row: Certification, session: TenantSession | None = None) -> CertificationOut:
    """The representation of ``row``; its shards are looked up in ``session``."""
    own = {name: getattr(row, name) for name in CertificationOut.model_fields if hasattr(row, name)}
    subset = Subset(start=row.start, stop=row.stop, step=row.step)
    failed = (row.summary or {}).get("failed_indices", row.totals.failed)
    work = None if session is None else _shards(session, row)
    return CertificationOut(
        **own,
        ended=row.state in TERMINAL,
        subset=subset,
        progress=progress(row),
        partial=bool(failed) and row.state is JobState.SUCCEEDED,
        failed_indices=failed,
        shards=work,
    )


def _shards(session: TenantSession, row: Certification) -> Shards:
    if row.unsharded == len(row.indices):  # it has none: the most that wait need not be asked
        return Shards(states={}, items=[])
    states, telling = shards.told(session, row.id, most=MOST_SHARDS)
    own = [name for name in ShardOut.model_fields if hasattr(Shard, name)]
    items = [
        ShardOut(
            **{name: getattr(shard, name) for name in own if name != "attempts"},
            ended=shard.state in TERMINAL,
            attempts=shard.fence,
            samples=splits.samples_of(shard),
            log=leases.log_id(row.id, shard),
        )
        for shard in telling
    ]
    return Shards(states=states, items=items)


def progress(row: Certification) -> Progress:
    """How far the work on ``row`` is."""
    eta, done = None, min(row.done, row.total)  # parts of an input may have counted what another was just told
    if row.state is JobState.RUNNING and row.started_at and done:
        eta = math.ceil((now() - row.started_at).total_seconds() * (row.total - done) / done)
    return Progress(
        done=done,
        total=row.total,
        unit=kind_of(row.method).unit,
        fraction=done / row.total,
        phase="ended" if row.state in TERMINAL else "certifying" if row.state is JobState.RUNNING else "waiting",
        eta_s=eta,
    )


@router.get("/certifications", summary="List certifications, newest first")
def index(
    service: InService, principal: Caller, cursor: CertificationCursor = None, limit: Limit = PAGE
) -> CertificationPage:
    with service.database.read(principal) as session:
        rows, after = pages.newest(session, Certification, before=cursor, limit=limit)
        return CertificationPage(items=[shown(row) for row in rows], next_cursor=after)


@router.get("/certifications/{certification_id}", response_model=CertificationOut, summary="A certification")
async def show(request: Request, certification_id: str, service: InService, principal: Caller, wait: Wait) -> Response:
    """State and progress. Send `If-None-Match` to get 304 while nothing changes."""
    look = partial(_look, service, principal, certification_id)
    return await polled(request, service, principal, Certification, certification_id, wait, look)


def _look(
    service: Service, principal: Principal, certification_id: str
) -> tuple[CertificationOut, bool, dict[str, str]]:
    with service.database.read(principal) as session:
        row = found(session, certification_id)
        out, headers = shown(row, session), patience(row)
    out.waiting = service.database.waiting_reason(row)
    return out, row.state in TERMINAL, headers


@router.post(
    "/certifications/{certification_id}/cancel",
    status_code=202,
    response_model=CertificationOut,
    summary="Cancel a certification",
)
def cancel(request: Request, certification_id: str, service: InService, principal: Caller) -> Response:
    """It ends at once; workers stop at their next chunk. Results that are there stay."""
    with service.database.write(principal) as session:
        row = found(session, certification_id, lock=True)
        try:
            certifications.cancel(session, row)
        except IllegalMove:
            raise Refusal(Problem.ALREADY_ENDED, f"{row.id} has {_ENDED[row.state]}", state=row.state) from None
        out = shown(row, session)
    return represented(request, out, status=202)


_ENDED = {JobState.SUCCEEDED: "succeeded", JobState.FAILED: "failed", JobState.CANCELLED: "been cancelled already"}


def found(session: TenantSession, certification_id: str, *, lock: bool = False) -> Certification:
    """The certification of that id, or 404."""
    row = certifications.get(session, checked_id("certification", certification_id), lock=lock)
    if row is None:
        raise missing("certification", certification_id)
    return row


def patience(row: Certification) -> dict[str, str]:
    """Ask again after a tenth of the time it has taken so far, or of the time left if that is less: the first batches
    wait for a process to start, so an early estimate is far too long, and must not cost its reader that."""
    if row.state in TERMINAL:
        return {}
    taken = (now() - row.started_at).total_seconds() if row.started_at else 0.0
    return {"Retry-After": str(min(10, max(1, int(min(taken, progress(row).eta_s or 0) / 10))))}
