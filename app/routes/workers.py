"""Workers: who is there, on what machine, and what each does."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.auth import Caller
from app.service import InService
from models.tables import Presence

router = APIRouter(tags=["service"])


class WorkOut(BaseModel):
    """What a worker works on. Of what is another tenant's, no more than its kind."""

    kind: str = Field(description="model, dataset (it reads the upload), certification (it cuts or ends it), or shard.")
    since: datetime
    id: str | None = Field(default=None, description="The row; null: another tenant's.")
    job: str | None = Field(default=None, description="Of a shard its certification; else `id`.")
    doing: str | None = Field(default=None, description='What it was last heard to do, in words that follow "while".')
    log: str | None = Field(default=None, description="What each line about this attempt has in that worker's log.")


class WorkerOut(BaseModel):
    """A worker: one slot, which works on one thing at a time."""

    name: str = Field(description="machine/process, by which shards and problems name it.")
    host: str
    version: str = Field(description="Of radii, there.")
    queues: list[str] = Field(description="What it takes: intake (uploads are read), certify.")
    device: str | None = Field(description="What it computes on: cpu, or a GPU's name. Null: it has not computed yet.")
    memory: int | None = Field(description="Bytes in use: of the GPU's memory, by whomever; else by its own runner.")
    memory_total: int | None = Field(description="Bytes that there are.")
    samples_per_second: float | None = Field(
        description="Progress while it last computed; of lipschitz and local, inputs."
    )
    started_at: datetime
    seen_at: datetime = Field(description="When it was last heard. One that goes silent vanishes soon after.")
    work: WorkOut | None = Field(description="Null: it is idle.")


class WorkerList(BaseModel):
    items: list[WorkerOut]


def shown(row: Presence) -> WorkerOut:
    """The representation of ``row``."""
    own = {name: getattr(row, name) for name in WorkerOut.model_fields}
    work = row.work and WorkOut(kind=row.work["noun"], **{k: v for k, v in row.work.items() if k != "noun"})
    return WorkerOut(**own | {"queues": row.queues.split(), "work": work})


@router.get("/workers", summary="List the workers that are there")
def index(service: InService, principal: Caller) -> WorkerList:
    """By name. What each is heard to do is some seconds old."""
    return WorkerList(items=[shown(row) for row in service.database.workers(principal)])
