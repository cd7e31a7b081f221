"""Models: what a user says of a network, and what intake found in it. (The tables are in the package ``models``.)"""

import math
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from app.architectures import Architecture
from app.auth import Caller
from app.errors import Refusal, invalid
from app.formats import CANONICAL, CANONICAL_WEIGHTS, HEAD, ONNX, SAFETENSORS, model_format
from app.parameters import PAGE, Limit, ModelCursor, checked_id, missing
from app.polls import polled
from app.schema import Ended, Id, Input, Text, represented
from app.service import NEEDS_ROOM, InService, Service
from app.waiting import Wait
from models.blobs import BlobMissing, Blobs
from models.principal import Principal
from models.problems import Problem
from models.repositories import intake, pages, uploads
from models.states import TERMINAL, IntakeState
from models.tables import Model, Upload
from models.tenant_session import TenantSession
from radii.float32 import LARGEST, LEAST_NORMAL, rounded
from radii.shapes import rearrangement

router = APIRouter(tags=["models"])

Task = Literal["classifier", "binary", "denoiser", "regressor"]

MOST_ELEMENTS = 2**24  # numbers of one input: 64 MiB as float32
FileName = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(values: list[float]) -> list[float]:
    if min(values) <= 0:
        raise ValueError("a standard deviation is positive")
    if min(values) < LEAST_NORMAL:
        raise ValueError(f"is too small for float32, which networks run in: give {LEAST_NORMAL:.2g} or more")
    return values


def _in_float32(value: float) -> float:
    if abs(value) > LARGEST:
        raise ValueError(f"is too large for float32, which networks run in: it holds numbers up to {LARGEST:.2g}")
    return value


Number = Annotated[float, AfterValidator(_in_float32)]
PerChannel = Annotated[list[Number], Field(min_length=1, max_length=100_000), BeforeValidator(_as_list)]


class InputSpace(Input):
    """The inputs that people certify: before normalisation, which becomes part of the network."""

    shape: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, max_length=4, description="Shape of one input, without the batch axis.", examples=[[1, 8, 8]]
    )
    range: list[Number] = Field(
        default=[0.0, 1.0], min_length=2, max_length=2, description="Least and largest value of an input."
    )
    mean: PerChannel = Field(
        default=[0.0], description="Subtracted before the network: a number, or one for each channel."
    )
    std: Annotated[PerChannel, AfterValidator(_positive)] = Field(
        default=[1.0], description="Divided by before the network: a number, or one for each channel."
    )

    @model_validator(mode="after")
    def _fits(self) -> "InputSpace":
        if math.prod(self.shape) > MOST_ELEMENTS:
            raise ValueError(f"shape: an input has at most {MOST_ELEMENTS} numbers")
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range: {self.range[0]} is not below {self.range[1]}; give [least, largest]")
        if rounded(self.range[1]) - rounded(self.range[0]) < LEAST_NORMAL:
            raise ValueError(f"range: {self.range[0]} and {self.range[1]} are too close for float32 to tell apart")
        if self.range[1] - self.range[0] > LARGEST:
            raise ValueError(f"range: its width is too large for float32, which holds numbers up to {LARGEST:.2g}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(
                    f"{name}: {len(values)} values; give one, or one for each of the {self.shape[0]} channels"
                    + _channels_last(self.shape, len(values))
                )
        return self

    @model_validator(mode="after")
    def _normalised_in_float32(self) -> "InputSpace":
        """Between the ends of the range both steps of ``(x - mean) / std`` are numbers in float32."""
        channels = max(len(self.mean), len(self.std))
        means, stds = (values * (channels // len(values)) for values in (self.mean, self.std))
        for mean, std in zip(means, stds, strict=True):
            for end in self.range:
                if abs(end - mean) * max(1.0, 1 / std) > LARGEST:
                    raise ValueError(
                        f"range, mean and std: of x = {end:g} the network sees ({end:g} - {mean:g}) / {std:g}, "
                        f"which is too large for float32 (up to {LARGEST:.2g})"
                    )
        return self


def _channels_last(shape: list[int], channels: int) -> str:
    """What else to say where the last axis is that of the channels."""
    if channels != shape[-1]:
        return ""
    first = [shape[-1], *shape[:-1]]
    line = rearrangement(shape, first)
    return f" (the first axis; if the network takes {first}, declare that, and give it such inputs; with NumPy: {line})"


class ModelInput(Input):
    """A network to certify: its file (ONNX, a `graph.json`, or safetensors with an `architecture`) and what that does
    not say."""

    upload_id: Id = Field(examples=["upl_0198f3c2d4e57a6b8c9d0e1f2a3b4c5d"])
    name: Text = Field(examples=["digits"])
    input: InputSpace
    output: FileName | None = Field(default=None, description="Name of the output to take, of several.")
    labels: list[Text] | None = Field(default=None, max_length=100_000, description="Names of the classes, in order.")
    external_data: dict[FileName, Id] = Field(
        default={}, max_length=100, description="Uploads of weight files, by the name that the model file calls them."
    )
    task: Task = Field(
        default="classifier",
        description="binary (ONNX): a classifier whose output is one number, the logit of class 1 against class 0, or "
        "the sigmoid of it; it is certified as one of the logits (0, z). "
        "denoiser (ONNX): its output is an input again, in the same units, before any normalisation. "
        "regressor (ONNX): its output (batch, ...) is real numbers, whose medians under noise are bounded.",
    )
    architecture: Architecture | None = Field(
        default=None, description="Of a safetensors upload, which holds weights alone: what network they belong to."
    )


class ModelOut(BaseModel):
    """A model. `summary` is what intake found, once ready: classes or outputs, graph, what methods apply or why not."""

    id: str
    name: str
    state: IntakeState
    ended: Ended
    upload_id: str
    sha256: str
    size: int
    input: dict[str, Any]
    output: str | None
    labels: list[str] | None
    task: Task = "classifier"
    external_data: dict[str, str]
    architecture: dict[str, Any] | None = None
    summary: dict[str, Any] | None
    problem: dict[str, Any] | None
    waiting: str | None = Field(
        default=None,
        description="Why intake has not begun: `no worker is alive`, `3 jobs ahead`, `next in line`. Null in lists.",
    )
    created_at: datetime
    finished_at: datetime | None


class ModelPage(BaseModel):
    items: list[ModelOut]
    next_cursor: str | None


def shown(row: Model) -> ModelOut:
    """The representation of ``row``."""
    upload = {"sha256": row.upload.sha256, "size": row.upload.size}
    own = {name: getattr(row, name) for name in ModelOut.model_fields if hasattr(row, name)}
    return ModelOut(**row.settings, **upload, **own, ended=row.state in TERMINAL)


@router.post(
    "/models",
    status_code=202,
    dependencies=NEEDS_ROOM,
    response_model=ModelOut,
    responses={200: {"description": "The same bytes and settings are this model already.", "model": ModelOut}},
    summary="Register a model",
)
def create(request: Request, body: ModelInput, service: InService, principal: Caller) -> Response:
    """Intake then reads the file: follow `Location` until `state` is `ready`, or `rejected` with a `problem`."""
    with service.database.write(principal) as session:
        upload, head = named_upload(session, service.blobs, body.upload_id, "upload_id")
        _refuse_unfit(body, model_format(head))
        external = {
            name: named_upload(session, service.blobs, upload_id, "external_data", name)[0]
            for name, upload_id in body.external_data.items()
        }
        settings = body.model_dump(include={"input", "output", "labels"})
        if body.task != "classifier":
            settings["task"] = body.task
        if body.architecture is not None:
            settings["architecture"] = body.architecture.model_dump()
        row, new = intake.add_model(session, upload, name=body.name, settings=settings, external=external)
        out = shown(row)
    out.waiting = service.database.waiting_reason(row)
    headers = {"Location": f"/v1/models/{out.id}"} | patience(out.state)
    return represented(request, out, status=202 if new else 200, headers=headers)


@router.get("/models", summary="List models, newest first")
def index(service: InService, principal: Caller, cursor: ModelCursor = None, limit: Limit = PAGE) -> ModelPage:
    with service.database.read(principal) as session:
        rows, after = pages.newest(session, Model, before=cursor, limit=limit)
        return ModelPage(items=[shown(row) for row in rows], next_cursor=after)


@router.get("/models/{model_id}", response_model=ModelOut, summary="A model")
async def show(request: Request, model_id: str, service: InService, principal: Caller, wait: Wait) -> Response:
    look = partial(_look, service, principal, model_id)
    return await polled(request, service, principal, Model, model_id, wait, look)


def _look(service: Service, principal: Principal, model_id: str) -> tuple[ModelOut, bool, dict[str, str]]:
    with service.database.read(principal) as session:
        row = intake.get(session, Model, checked_id("model", model_id))
        if row is None:
            raise missing("model", model_id)
        out = shown(row)
    out.waiting = service.database.waiting_reason(row)
    return out, row.state in TERMINAL, patience(row.state)


def _refuse_unfit(body: ModelInput, kind: str) -> None:
    """Refuse a body that says what a file of its ``kind`` does not have, or leaves out what it needs."""
    if kind == SAFETENSORS and body.architecture is None:
        raise invalid(
            "the upload is safetensors, which holds weights and no network: name their network", "architecture"
        )
    if kind != SAFETENSORS and body.architecture is not None:
        raise invalid(f"the upload is {kind} and holds its network itself; leave it out", "architecture")
    if kind != ONNX and body.output is not None:
        raise invalid(f"the upload is {kind}, which has one output; leave it out", "output")
    if kind != ONNX and body.task != "classifier":
        raise invalid(f"the upload is {kind}, and a {body.task} is taken as ONNX; export it to ONNX", "task")
    if body.labels is not None and body.task not in ("classifier", "binary"):
        raise invalid(f"a {body.task} has no classes; leave the labels out", "labels")
    needed = {CANONICAL_WEIGHTS} if kind == CANONICAL else set()
    if kind != ONNX and set(body.external_data) != needed:
        what = f"name {CANONICAL_WEIGHTS}, and nothing else" if needed else "leave it out"
        raise invalid(f"the upload is {kind}: {what}", "external_data")


def named_upload(session: TenantSession, blobs: Blobs, upload_id: str, *path: str) -> tuple[Upload, bytes]:
    """The upload that a body names at ``path``, and how its file begins."""
    row = uploads.get(session, upload_id, lock=True)
    if row is None:
        raise invalid(f"there is no upload {upload_id}", *path)
    try:
        return row, blobs.beginning(row.sha256, HEAD)
    except BlobMissing:
        said = f"the file of upload {upload_id} ({blobs.where(row.sha256)}) is not there any more"
        raise Refusal(Problem.FILE_MISSING, said) from None


def patience(state: IntakeState) -> dict[str, str]:
    """When to ask again, while there is something to wait for."""
    return {"Retry-After": "1"} if state is IntakeState.VALIDATING else {}
