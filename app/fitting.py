"""A certification that can be: its question against what intake found of the models and the data set."""

from pydantic import Field

from app.checks import chosen, refuse_unfit, refuse_unfit_denoiser
from app.planning import about, apart, planned
from app.routes.certifications import Subset
from app.schema import Id, Input
from models.precedence import DEFAULT, HIGHEST, LOWEST, rank, small
from models.repositories import certifications
from models.tables import Certification, Dataset, Model
from radii.methods import AnyMethod

EXAMPLES = {
    "model_id": "mdl_0198f3c2d4e57a6b8c9d0e1f2a3b4c5d",
    "dataset_id": "dat_0198f3c2d4e57a6b8c9d0e1f2a3b4c5d",
}
METHOD = {"kind": "smoothing", "sigma": 0.25, "alpha": 0.001, "n0": 100, "n": 10000}


class Asked(Input):
    """What may be said of a certification besides model, data and method, of one alone as of all in a batch."""

    denoiser_model_id: Id | None = Field(
        default=None, description="A model whose task is denoiser, in front of the model; for smoothed networks."
    )
    subset: Subset = Field(default=Subset(), description="Unset: the whole data set.")
    priority: int = Field(
        default=DEFAULT,
        ge=LOWEST,
        le=HIGHEST,
        description="Higher goes first; among equals API keys take turns, and of one key the oldest goes first.",
    )


class Question(Asked):
    """How far may each input of a data set move before the model's answer may change? Or what else the method asks."""

    model_id: Id = Field(examples=[EXAMPLES["model_id"]])
    dataset_id: Id = Field(examples=[EXAMPLES["dataset_id"]])
    method: AnyMethod = Field(examples=[METHOD])


def fitted(
    model: Model,
    dataset: Dataset,
    denoiser: Model | None,
    method: AnyMethod,
    asked: Asked,
    *,
    key: str,
    awaited: bool = False,
) -> Certification:
    """The certification of that, not added yet. Refuses what does not fit together. ``key``: the id of the API key that
    asks; ``awaited``: somebody waits for the answer."""
    refuse_unfit(model, dataset, method)
    if denoiser is not None:
        refuse_unfit_denoiser(denoiser, model, method)
    subset = asked.subset
    indices = chosen(model, dataset, subset.start, subset.stop, subset.step, method)
    span = about(model, dataset, indices).span
    cost = method.cost(span)
    return certifications.new(
        model,
        dataset,
        denoiser=denoiser,
        method=method.model_dump(),
        plan=planned(method, len(indices)),
        indices=indices,
        cost=cost,
        shard_inputs=method.shard_inputs(span, len(indices)),
        rank=rank(asked.priority, interactive=awaited and small(len(indices) * cost, method.unit)),
        key_id=key,
        apart=apart(method),
    )
