"""What must hold before a certification is queued: better refused now than failed an hour later."""

from math import prod

from app.errors import Refusal, invalid
from app.planning import about
from models.base import Json
from models.problems import Problem
from models.states import IntakeState
from models.tables import Dataset, Model
from radii.float32 import rounded
from radii.methods import KINDS, Method
from radii.shapes import rearrangement

MOST_SHARDS = 100_000  # of a certification


def refuse_unfit(model: Model, dataset: Dataset, method: Method) -> None:
    """Refuse a model and a data set that are not both ready, do not fit each other, or do not fit the method."""
    refuse_unready("model", model)
    refuse_unready("data set", dataset)
    assert model.summary is not None and dataset.summary is not None
    found, has = model.summary, dataset.summary
    _refuse_another_task(model, method)
    if has["shape"] != found["input_shape"]:
        raise Refusal(
            Problem.SHAPE_MISMATCH,
            f"an input of the data set has shape {_tuple(has['shape'])}, of the model {_tuple(found['input_shape'])}",
            remedy=_made_to_fit(has["shape"], found["input_shape"]),
        )
    low, high = model.settings["input"]["range"]
    if not rounded(low) <= has["min"] <= has["max"] <= rounded(high):
        raise Refusal(
            Problem.RANGE_MISMATCH,
            f"the data set has values from {has['min']:.9g} to {has['max']:.9g}, the model's range is "
            f"[{low:g}, {high:g}]",
            **_scaled(has, low, high),
        )
    largest = max((int(label) for label in has["labels"]), default=0) if has["labels"] else 0
    if method.task == "classifier" and largest >= found["num_classes"]:
        raise Refusal(
            Problem.LABELS_OUT_OF_RANGE,
            f"the data set has the label {largest}, the model classes 0 to {found['num_classes'] - 1}",
        )
    verdicts = {one["kind"]: one for one in found["methods"]}
    said = verdicts.get(method.applies_as)  # None: it was taken in before there was the method, whose worker says it
    if said is not None and not said["applies"]:
        raise Refusal(
            Problem.METHOD_NOT_APPLICABLE, f"{method.kind} does not apply to {model.id}", reasons=said["reasons"]
        )


def _scaled(has: Json, low: float, high: float) -> Json:
    """What to do about 8-bit images before a network that takes 0 to 1."""
    if has.get("grid") != [0.0, 255.0] or (low, high) != (0.0, 1.0):
        return {}
    line = "With NumPy: x = x.astype('float32') / 255. Save it with numpy.savez and register that file."
    return {"remedy": f"{line} (Or, if the network was trained on 0 to 255, register it with that range.)"}


def _made_to_fit(has: list[int], wants: list[int]) -> str:
    """What to do about data of another shape."""
    line = rearrangement(has, wants)
    if line is None:
        return (
            f"{Problem.SHAPE_MISMATCH.remedy} An input of {prod(has)} numbers can't be rearranged to {prod(wants)}: "
            "prepare the data as those that the network was trained on (size, crop, color)."
        )
    return f"With NumPy, x being the array of all inputs: {line}. Save it with numpy.savez and register that file."


def _refuse_another_task(model: Model, method: Method) -> None:
    task = model.settings.get("task", "classifier")
    task = "classifier" if task == "binary" else task
    if task == "denoiser":
        words = f"{model.id} is a denoiser; name it as denoiser_model_id, and the model behind it here"
    elif task != method.task:
        kinds = " or ".join(kind for kind, other in KINDS.items() if other.task == task)
        words = (
            f"{model.id} is a {task}, and {method.kind} is about a {method.task}; take a method of its own (kind = "
            f"{kinds}), or register its file with task = {method.task}"
        )
    else:
        return
    raise invalid(words, "model_id")


def refuse_unfit_denoiser(denoiser: Model, model: Model, method: Method) -> None:
    """Refuse a denoiser that is none, or not ready, or does not fit the model; or is asked for a method without."""
    refuse_unready("model", denoiser)
    assert denoiser.summary is not None and model.summary is not None
    if not method.denoised:
        raise invalid("a denoiser belongs to smoothing; leave it out, or certify by smoothing", "denoiser_model_id")
    if denoiser.settings.get("task") != "denoiser":
        task = denoiser.settings.get("task", "classifier")
        words = f"{denoiser.id} is a {task}; register the denoiser's file with task = denoiser, and name that"
        raise invalid(words, "denoiser_model_id")
    made, taken = denoiser.summary["input_shape"], model.summary["input_shape"]
    if made != taken:
        raise Refusal(
            Problem.SHAPE_MISMATCH,
            f"the denoiser makes inputs of shape {_tuple(made)}, the model takes {_tuple(taken)}. "
            "Export the denoiser for the model's shape",
        )


def chosen(model: Model, dataset: Dataset, start: int, stop: int | None, step: int, method: Method) -> range:
    """The indices of a subset; ``stop`` None is the end. Refuses what is empty, beyond the data, or too many shards,
    and what the method can't be asked of it."""
    assert dataset.summary is not None
    count = dataset.summary["count"]
    stop = count if stop is None else stop
    if not start < stop <= count:
        raise Refusal(
            Problem.SUBSET_OUT_OF_RANGE, f"the subset runs from {start} to {stop}, the data set has {count} inputs"
        )
    indices = range(start, stop, step)
    asked = about(model, dataset, indices)
    if unfit := method.unfit(asked):
        raise invalid(unfit.reason, "method", unfit.parameter)
    most = MOST_SHARDS * method.shard_inputs(asked.span)
    if len(indices) > most:
        raise Refusal(
            Problem.SUBSET_TOO_LARGE, f"{len(indices)} inputs with this method; one certification takes {most}"
        )
    return indices


def refuse_unready(noun: str, row: Model | Dataset) -> None:
    """Refuse what intake has not accepted."""
    if row.state is IntakeState.VALIDATING:
        raise Refusal(Problem.NOT_READY, f"the {noun} {row.id} is still being read", headers={"Retry-After": "1"})
    if row.state is IntakeState.REJECTED:
        why = (row.problem or {}).get("detail", "")
        raise Refusal(Problem.REJECTED, f"the {noun} {row.id} was rejected: {why}", cause=row.problem)


def _tuple(shape: list[int]) -> str:
    return f"({', '.join(str(size) for size in shape)})"
