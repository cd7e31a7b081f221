"""The report of a certification: the bound that its radii rest on, layer by layer."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.certifications import found, patience
from app.errors import Refusal
from app.schema import represented
from app.service import InService
from models.problems import Problem
from models.repositories import reports
from models.states import TERMINAL
from models.tables import Certification

router = APIRouter(tags=["certifications"])


class Layer(BaseModel):
    """What one node contributes. `shape` is its weight's; `padding` and `torus` are a convolution's."""

    index: int = Field(description="Position in the file; -1: the normalisation of the input.")
    operator: str
    label: str = Field(description="The node's name in the file.")
    rule: str
    shape: list[int] | None
    padding: list[list[int]] | None
    torus: list[int] | None = Field(description="Pixels per axis of the circular operator that was bounded instead.")
    method: str = Field(description="What proved the upper bound.")
    iterations: int
    upper: float
    lower: float = Field(description="Proved from below, by a witness; 0: nothing is known.")
    slack: float = Field(description="Relative part of `upper` that is there for rounding.")
    share: float | None = Field(description="log(upper) / log(bound of the network).")
    seconds: float


class LeftOut(BaseModel):
    """A node that stands behind the logits."""

    index: int = Field(description="Position in the file.")
    operator: str
    label: str = Field(description="The node's name in the file.")


class Pairwise(BaseModel):
    """The range of the Lipschitz constants of differences of two logits."""

    min: float
    max: float


class Report(BaseModel):
    """A proved Lipschitz constant of the network's logits, and what it is made of."""

    certification_id: str
    model_id: str
    upper: float
    norm: Literal["l2"] = Field(description="Of `upper`, on both sides; radii in other norms are converted.")
    rule: str = Field(description="How the layers became one bound.")
    vacuous: bool = Field(description="Too large to certify anything useful: use smoothing.")
    notes: list[str] = Field(default=[], description="Why sharper rules could not treat a part of the network.")
    left_out: list[LeftOut] = Field(
        default=[],
        description="The end of the network that keeps the order of the classes (a softmax, say); `upper` is of the "
        "logits before it.",
    )
    pairwise: Pairwise | None
    layers: list[Layer]
    seconds: float


@router.get(
    "/certifications/{certification_id}/report",
    response_model=Report,
    summary="Report of a Lipschitz bound, layer by layer",
)
def show(request: Request, certification_id: str, service: InService) -> Response:
    """There once the bound is proved, which is before the first result; 409 until then. Only `lipschitz` has one."""
    with service.database.read() as session:
        row = found(session, certification_id)
        document = reports.get(session, row.id)
        if document is None:
            raise _absent(row)
        out = Report(certification_id=row.id, model_id=row.model_id, **document)
    return represented(request, out)


def _absent(row: Certification) -> Refusal:
    if row.method["kind"] != "lipschitz":
        return Refusal(Problem.NOT_FOUND, f"{row.id} certifies by {row.method['kind']}, which has no report")
    if row.state in TERMINAL:
        return Refusal(Problem.NOT_FOUND, f"{row.id} ended before its bound was proved, so it has no report")
    return Refusal(Problem.NOT_READY, f"the bound of {row.id} is not proved yet", headers=patience(row))
