"""How a certification starts."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Request, Response
from pydantic import Field, SerializeAsAny, model_validator
from starlette.concurrency import run_in_threadpool

from app import inline
from app.auth import Caller
from app.checks import refuse_unready
from app.errors import invalid
from app.figures import ResultPage
from app.fitting import EXAMPLES, METHOD, Asked, fitted
from app.kept import Kept, kept
from app.parameters import PAGE
from app.routes.certifications import INT32, CertificationOut, found, patience, shown
from app.routes.results import page
from app.schema import Id, answered
from app.service import NEEDS_ROOM, InService, Service
from app.waiting import Wait, seen
from models.base import Json
from models.principal import Principal
from models.repositories import certifications, intake
from models.repositories.intake import Intaken
from models.tables import Certification, Dataset, Model
from models.tenant_session import TenantSession
from radii.methods import AnyMethod

router = APIRouter(tags=["certifications"])


class CertificationInput(Asked):
    """How far may each input move before the model's answer may change? Or, of a prediction: what does the smoothed
    classifier answer? Of a regressor: between which numbers do its medians stay?"""

    model_id: Id = Field(examples=[EXAMPLES["model_id"]])
    dataset_id: Id | None = Field(
        default=None, description="A data set, or: `inputs`.", examples=[EXAMPLES["dataset_id"]]
    )
    inputs: list[Any] | None = Field(
        default=None,
        description="A few inputs instead of a data set: a list of nested lists of numbers, each of the model's input "
        "shape. They become a data set, the same one for the same inputs.",
    )
    labels: list[Annotated[int, Field(ge=0, le=INT32)]] | None = Field(
        default=None, description="Class indices of `inputs`, where they are known."
    )
    method: AnyMethod = Field(examples=[METHOD])
    interactive: bool | None = Field(
        default=None,
        description="Whether somebody waits for it: a small one (at most 1,000,000 samples; of lipschitz and local "
        "1,000 inputs) then goes before all that nobody waits for, whatever its priority. Unset: if the request waits "
        "(Prefer), or brings its `inputs`.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset_id is None) is (self.inputs is None):
            raise ValueError("dataset_id or inputs: one of them, and not both")
        if self.labels is not None and self.inputs is None:
            raise ValueError("labels belong to inputs; a data set has its own")
        return self


class CertificationEnded(CertificationOut):
    """A certification that ended while the request waited for it."""

    results: SerializeAsAny[ResultPage] = Field(
        description="The first page of its results, as `GET .../results` gives it."
    )


@router.post(
    "/certifications",
    status_code=202,
    dependencies=NEEDS_ROOM,
    response_model=CertificationOut,
    responses={200: {"description": "It ended while the request waited.", "model": CertificationEnded}},
    summary="Start a certification",
)
async def create(
    request: Request, body: CertificationInput, service: InService, principal: Caller, wait: Wait
) -> Response:
    """Model and data set must be `ready`. Follow `Location` until `ended` is true, or let the request wait: with
    `inputs` a small question is one call."""
    row_id = await run_in_threadpool(_start, service, principal, body, waited=bool(wait))
    found = await seen(service.watch, Certification, row_id, wait, lambda: _look(service, principal, row_id))
    return answered(request, found, status=200 if found.ended else 202)


def _start(service: Service, principal: Principal, body: CertificationInput, *, waited: bool) -> str:
    """The id of the certification, queued."""
    kept = None if body.inputs is None else _kept(service, principal, body, body.inputs)
    with service.database.write(principal) as session:
        model = _named(session, Model, body.model_id, "model_id")
        dataset = (
            _named(session, Dataset, str(body.dataset_id), "dataset_id")
            if kept is None
            else inline.registered(session, principal.tenant, *kept)
        )
        front = body.denoiser_model_id
        denoiser = None if front is None else _named(session, Model, front, "denoiser_model_id")
        awaited = body.interactive if body.interactive is not None else waited or body.inputs is not None
        row = fitted(model, dataset, denoiser, body.method, body, key=principal.key, awaited=awaited)
        return certifications.add(session, row).id


def _kept(service: Service, principal: Principal, body: CertificationInput, inputs: list[Any]) -> tuple[str, int, Json]:
    """What ``inline.keep`` says of the request's inputs, which fit the model."""
    with service.database.read(principal) as session:
        model = _named(session, Model, body.model_id, "model_id", lock=False)
        refuse_unready("model", model)
        assert model.summary is not None
        shape, (low, high) = model.summary["input_shape"], model.settings["input"]["range"]
    return inline.keep(service.blobs, inline.checked(inputs, body.labels, shape=shape, low=low, high=high))


def _named(session: TenantSession, table: type[Intaken], row_id: str, field: str, *, lock: bool = True) -> Intaken:
    row = intake.get(session, table, row_id, lock=lock)
    if row is None:
        raise invalid(f"there is no {table.__name__.lower()} {row_id}", field)
    return row


def _look(service: Service, principal: Principal, row_id: str) -> Kept:
    """The certification as it is now, where it is, and when to ask again."""
    with service.database.read(principal) as session:
        row = found(session, row_id)
        out = shown(row, session)
        if out.ended:
            # Not validated: sent as `page` made it, be it of an earlier version.
            first: Any = page(session, row, -1, PAGE)
            out = CertificationEnded.model_construct(**dict(out), results=first)
        headers = patience(row) | {"Location": f"/v1/certifications/{row_id}"}
    out.waiting = service.database.waiting_reason(row)
    return kept(out, mark=None, ended=out.ended, headers=headers)
