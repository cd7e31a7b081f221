"""Deleting uploads, models, data sets, certifications and batches."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.auth import Caller
from app.errors import Refusal
from app.parameters import checked_id, missing
from app.service import InService, Service
from models.ids import BATCH, CERTIFICATION, DATASET, MODEL, UPLOAD
from models.principal import Principal
from models.problems import Problem
from models.repositories import deletion
from models.repositories.deletion import KINDS

router = APIRouter()

MOST_LISTED = 20  # ids of a kind

Cascade = Annotated[
    bool, Query(description="Whether what needs it is deleted too. Otherwise the call is refused while anything does.")
]
Noun = Literal["upload", "model", "data set", "certification", "batch"]


class Rows(BaseModel):
    """Some rows of one kind."""

    noun: Noun
    count: int
    ids: list[str] = Field(description=f"The first {MOST_LISTED}.")


class Deleted(BaseModel):
    """What was deleted: what was named, and with `cascade` what needed it. It is not there from now on; its space is
    free within minutes."""

    id: str
    deleted: list[Rows]


@router.delete("/uploads/{upload_id}", tags=["uploads"], summary="Delete an upload")
def delete_upload(upload_id: str, service: InService, principal: Caller, cascade: Cascade = False) -> Deleted:
    """Models and data sets need their uploads."""
    return _deleted(service, principal, UPLOAD, upload_id, cascade)


@router.delete("/models/{model_id}", tags=["models"], summary="Delete a model")
def delete_model(model_id: str, service: InService, principal: Caller, cascade: Cascade = False) -> Deleted:
    """Certifications need their models, and batches their certifications. The upload stays; one of which nothing is
    made goes after a day."""
    return _deleted(service, principal, MODEL, model_id, cascade)


@router.delete("/datasets/{dataset_id}", tags=["data sets"], summary="Delete a data set")
def delete_dataset(dataset_id: str, service: InService, principal: Caller, cascade: Cascade = False) -> Deleted:
    """Certifications need their data sets, and batches their certifications. The upload stays; one of which nothing is
    made goes after a day."""
    return _deleted(service, principal, DATASET, dataset_id, cascade)


@router.delete("/certifications/{certification_id}", tags=["certifications"], summary="Delete a certification")
def delete_certification(
    certification_id: str, service: InService, principal: Caller, cascade: Cascade = False
) -> Deleted:
    """With its results. One that has not ended is cancelled first. A batch needs its certifications. What was counted
    is remembered: the same question has the same answer."""
    return _deleted(service, principal, CERTIFICATION, certification_id, cascade)


@router.delete("/batches/{batch_id}", tags=["batches"], summary="Delete a batch")
def delete_batch(batch_id: str, service: InService, principal: Caller, cascade: Cascade = False) -> Deleted:
    """Its certifications stay, each for itself; with `cascade` they are deleted too."""
    return _deleted(service, principal, BATCH, batch_id, cascade)


def _deleted(service: Service, principal: Principal, prefix: str, row_id: str, cascade: bool) -> Deleted:
    noun = KINDS[prefix].name
    checked_id(noun, row_id)
    with service.database.write(principal) as session:
        if not deletion.lock(session, prefix, [row_id]):
            raise missing(noun, row_id)
        alone = prefix == BATCH and not cascade
        needing = {} if alone else deletion.needing(session, prefix, [row_id], locked=cascade)
        if needing and not cascade:
            listed = [_listed(other, ids) for other, ids in needing.items()]
            need = " and ".join(
                f"{rows.count} {rows.noun if rows.count == 1 else KINDS[other].several}"
                for other, rows in zip(needing, listed, strict=True)
            )
            verb = "needs" if sum(rows.count for rows in listed) == 1 else "need"
            raise Refusal(
                Problem.STILL_NEEDED, f"{need} {verb} {row_id}", needed_by=[rows.model_dump() for rows in listed]
            )
        everything = needing | {prefix: [row_id]}
        for other, ids in everything.items():
            deletion.bury(session, other, ids)
        return Deleted(id=row_id, deleted=[_listed(other, ids) for other, ids in everything.items()])


def _listed(prefix: str, ids: list[str]) -> Rows:
    return Rows.model_validate({"noun": KINDS[prefix].name, "count": len(ids), "ids": ids[:MOST_LISTED]})
