"""Data sets: inputs x and, where given, labels y."""

from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.auth import Caller
from app.formats import refuse_other_datasets
from app.parameters import PAGE, DatasetCursor, Limit, checked_id, missing
from app.polls import polled
from app.routes.models import named_upload, patience
from app.schema import Ended, Id, Input, Text, represented
from app.service import NEEDS_ROOM, InService, Service
from app.waiting import Wait
from models.principal import Principal
from models.repositories import intake, pages
from models.states import TERMINAL, IntakeState
from models.tables import Dataset

router = APIRouter(tags=["data sets"])

OWN = {"x_blob", "y_blob"}  # of the summary: where the workers find the arrays


class DatasetInput(Input):
    """Inputs to certify: an upload of a NumPy .npz with `x` of shape (N, ...) and optionally `y`, N class indices."""

    upload_id: Id = Field(examples=["upl_0198f3c2d4e57a6b8c9d0e1f2a3b4c5d"])
    name: Text = Field(examples=["digits"])


class DatasetOut(BaseModel):
    """A data set. `summary` is what intake found, once ready: count, shape, least and largest value, labels."""

    id: str
    name: str
    state: IntakeState
    ended: Ended
    upload_id: str
    sha256: str
    size: int
    summary: dict[str, Any] | None
    problem: dict[str, Any] | None
    waiting: str | None = Field(
        default=None,
        description="Why intake has not begun: `no worker is alive`, `3 jobs ahead`, `next in line`. Null in lists.",
    )
    created_at: datetime
    finished_at: datetime | None


class DatasetPage(BaseModel):
    items: list[DatasetOut]
    next_cursor: str | None


def shown(row: Dataset) -> DatasetOut:
    """The representation of ``row``."""
    summary = row.summary and {name: value for name, value in row.summary.items() if name not in OWN}
    own = {name: getattr(row, name) for name in DatasetOut.model_fields if hasattr(row, name)}
    return DatasetOut(
        **own | {"summary": summary}, ended=row.state in TERMINAL, sha256=row.upload.sha256, size=row.upload.size
    )


@router.post(
    "/datasets",
    status_code=202,
    dependencies=NEEDS_ROOM,
    response_model=DatasetOut,
    responses={200: {"description": "The same bytes are this data set already.", "model": DatasetOut}},
    summary="Register a data set",
)
def create(request: Request, body: DatasetInput, service: InService, principal: Caller) -> Response:
    """Intake then reads the file: follow `Location` until `state` is `ready`, or `rejected` with a `problem`."""
    with service.database.write(principal) as session:
        upload, head = named_upload(session, service.blobs, body.upload_id, "upload_id")
        refuse_other_datasets(head)
        row, new = intake.add_dataset(session, upload, name=body.name)
        out = shown(row)
    out.waiting = service.database.waiting_reason(row)
    headers = {"Location": f"/v1/datasets/{out.id}"} | patience(out.state)
    return represented(request, out, status=202 if new else 200, headers=headers)


@router.get("/datasets", summary="List data sets, newest first")
def index(service: InService, principal: Caller, cursor: DatasetCursor = None, limit: Limit = PAGE) -> DatasetPage:
    with service.database.read(principal) as session:
        rows, after = pages.newest(session, Dataset, before=cursor, limit=limit)
        return DatasetPage(items=[shown(row) for row in rows], next_cursor=after)


@router.get("/datasets/{dataset_id}", response_model=DatasetOut, summary="A data set")
async def show(request: Request, dataset_id: str, service: InService, principal: Caller, wait: Wait) -> Response:
    look = partial(_look, service, principal, dataset_id)
    return await polled(request, service, principal, Dataset, dataset_id, wait, look)


def _look(service: Service, principal: Principal, dataset_id: str) -> tuple[DatasetOut, bool, dict[str, str]]:
    with service.database.read(principal) as session:
        row = intake.get(session, Dataset, checked_id("data set", dataset_id))
        if row is None:
            raise missing("data set", dataset_id)
        out = shown(row)
    out.waiting = service.database.waiting_reason(row)
    return out, row.state in TERMINAL, patience(row.state)
