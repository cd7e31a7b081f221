"""The report of a certification: what it says of the model, once, besides its inputs."""

from functools import reduce
from operator import or_
from typing import Any

from fastapi import APIRouter, Request, Response

from app.auth import Caller
from app.errors import Refusal
from app.routes.certifications import found, patience
from app.schema import represented
from app.service import InService
from models.problems import Problem
from models.repositories import reports
from models.states import TERMINAL
from models.tables import Certification
from radii.methods import METHODS, kind_of

router = APIRouter(tags=["certifications"])


REPORTS: Any = reduce(or_, (method.report for method in METHODS if method.report))


@router.get(
    "/certifications/{certification_id}/report",
    response_model=REPORTS,
    summary="Report of a Lipschitz bound, layer by layer; of `local`, what its radii are about",
)
def show(request: Request, certification_id: str, service: InService, principal: Caller) -> Response:
    """There once the bound is proved, which is before the first result; 409 until then. Only `lipschitz` and `local`
    have one."""
    with service.database.read(principal) as session:
        row = found(session, certification_id)
        document = reports.get(session, row.id)
        if document is None:
            raise _absent(row)
        report = kind_of(row.method).report
        assert report is not None
        out = report(certification_id=row.id, model_id=row.model_id, **document)
    return represented(request, out)


def _absent(row: Certification) -> Refusal:
    if kind_of(row.method).report is None:
        return Refusal(Problem.NOT_FOUND, f"{row.id} certifies by {row.method['kind']}, which has no report")
    if row.state in TERMINAL:
        return Refusal(Problem.NOT_FOUND, f"{row.id} ended before its bound was proved, so it has no report")
    return Refusal(Problem.NOT_READY, f"the bound of {row.id} is not proved yet", headers=patience(row))
