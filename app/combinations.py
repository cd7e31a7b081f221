"""What a batch asks for: every combination of models, data sets and methods, or a list of certifications; and whether
all of it can be."""

import json
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from app.errors import Refusal
from app.fitting import EXAMPLES, METHOD, Asked, Question, fitted
from app.schema import Id, Text
from models.base import Json
from models.problems import Problem
from models.repositories import batches, intake
from models.tables import Certification, Dataset, Model
from models.tenant_session import TenantSession
from radii.methods import AnyMethod

MOST = 1000  # certifications of a batch
MOST_NAMED = 5  # misfits that the detail of a problem speaks of; its list has all

Ids = Annotated[list[Id], Field(min_length=1, max_length=MOST)]


class BatchInput(Asked):
    """Certifications that are asked for together: all combinations of `model_ids`, `dataset_ids` and `methods`, or
    `items`. All of them are started, or none. What else may be said of a certification is of all combinations."""

    name: Text | None = Field(default=None, description="The same certifications under another name are one batch.")
    model_ids: Ids | None = Field(default=None, examples=[[EXAMPLES["model_id"]]])
    dataset_ids: Ids | None = Field(default=None, examples=[[EXAMPLES["dataset_id"]]])
    methods: list[AnyMethod] | None = Field(
        default=None, min_length=1, max_length=MOST, examples=[[METHOD, {"kind": "lipschitz"}]]
    )
    items: list[Question] | None = Field(
        default=None, min_length=1, max_length=MOST, description="Instead of combinations."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        combined = {name: getattr(self, name) for name in ("model_ids", "dataset_ids", "methods")}
        if self.items is not None:
            if given := [name for name in (*combined, *Asked.model_fields) if name in self.model_fields_set]:
                raise ValueError(f"each of the items says it for itself; leave out {', '.join(given)}, or items")
        elif missing := [name for name, value in combined.items() if value is None]:
            raise ValueError(f"give model_ids, dataset_ids and methods, or items; missing: {', '.join(missing)}")
        else:
            count = len(self.model_ids or ()) * len(self.dataset_ids or ()) * len(self.methods or ())
            if count > MOST:
                raise ValueError(
                    f"these combinations are {count} certifications, and a batch takes {MOST}; make several"
                )
        return self

    @property
    def questions(self) -> list[Question]:
        """The certifications that are asked for; of combinations the methods change fastest, and the models last."""
        if self.items is not None:
            return self.items
        of_all = {name: getattr(self, name) for name in Asked.model_fields}
        every = product(self.model_ids or (), self.dataset_ids or (), self.methods or ())
        return [Question(model_id=model, dataset_id=data, method=method, **of_all) for model, data, method in every]


def certifications(session: TenantSession, questions: Sequence[Question]) -> list[Certification]:
    """The certifications of those questions, none of them added yet. Refuses them together if some can't be, and names
    each of those."""
    fronts = {question.denoiser_model_id for question in questions if question.denoiser_model_id is not None}
    models = intake.named(session, Model, fronts | {question.model_id for question in questions})
    datasets = intake.named(session, Dataset, {question.dataset_id for question in questions})
    rows: list[Certification] = []
    refused: dict[int, Refusal] = {}
    places: dict[str, int] = {}
    for index, question in enumerate(questions):
        try:
            row = _fitted(question, models, datasets, key=session.principal.key)
            first = places.setdefault(batches.content(row), index)
            if first != index:
                raise Refusal(Problem.INVALID_REQUEST, f"it is item {first} once more; leave one of them out")
            rows.append(row)
        except Refusal as refusal:
            refused[index] = refusal
    if refused:
        raise _together(questions, refused)
    return rows


def _fitted(question: Question, models: dict[str, Model], datasets: dict[str, Dataset], *, key: str) -> Certification:
    front = question.denoiser_model_id
    for noun, row_id, there in (
        ("model", question.model_id, models),
        ("dataset", question.dataset_id, datasets),
        ("model", front, models),
    ):
        if row_id is not None and row_id not in there:
            raise Refusal(Problem.NOT_FOUND, f"there is no {noun} {row_id}")
    denoiser = None if front is None else models[front]
    model, dataset = models[question.model_id], datasets[question.dataset_id]
    return fitted(model, dataset, denoiser, question.method, question, key=key)


def _together(questions: Sequence[Question], refused: dict[int, Refusal]) -> Refusal:
    """One refusal of all that can't be. Those that are only not ready yet may be asked for again as they are."""
    alike: dict[str, Json] = {}
    for index, refusal in refused.items():
        document = refusal.problem.document(refusal.detail, **refusal.extensions)
        document.pop("errors", None)  # they point into a body of one certification
        misfit = alike.setdefault(json.dumps(document, sort_keys=True), {"items": [], **document})
        misfit["items"].append(_named(index, questions[index]))
    misfits = list(alike.values())
    several = f"{len(refused)} of {len(questions)} can't be: "
    reasons = [f"{_places(misfit['items'])}: {misfit['detail']}" for misfit in misfits[:MOST_NAMED]]
    more = f"; and {len(misfits) - MOST_NAMED} more reasons" if len(misfits) > MOST_NAMED else ""
    waiting = all(refusal.problem is Problem.NOT_READY for refusal in refused.values())
    return Refusal(
        Problem.NOT_READY if waiting else Problem.UNFIT_BATCH,
        several + "; ".join(reasons) + more,
        headers={"Retry-After": "1"} if waiting else None,
        misfits=misfits,
    )


def _named(index: int, question: Question) -> Json:
    ids = {"model_id": question.model_id, "dataset_id": question.dataset_id}
    front = {} if question.denoiser_model_id is None else {"denoiser_model_id": question.denoiser_model_id}
    return {"index": index, **ids, **front, "kind": question.method.kind}


def _places(items: Sequence[dict[str, Any]]) -> str:
    """Their indices in words: the first few, where there are many."""
    indices = [str(item["index"]) for item in items]
    shown = ", ".join(indices[:MOST_NAMED]) + (f" and {len(indices) - MOST_NAMED} more" if indices[MOST_NAMED:] else "")
    return f"item {shown}" if len(indices) == 1 else f"items {shown}"
