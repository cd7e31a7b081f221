"""What a certification's method says of itself, in the words of the tables."""

from math import prod

from models.plan import Plan, Stage
from models.tables import Dataset, Model
from radii.methods import About, Method


def about(model: Model, dataset: Dataset, indices: range) -> About:
    """What is asked about: some inputs of a data set, and a model, both ready."""
    assert model.summary is not None and dataset.summary is not None
    return About(
        grid=dataset.summary.get("grid"),
        range=model.settings["input"]["range"],
        dimensions=prod(dataset.summary["shape"]),
        outputs=model.summary.get("num_outputs") or 1,
        inputs=len(indices),
    )


def apart(method: Method) -> str | None:
    """The stage whose samples workers may share."""
    return next((stage.name for stage in method.stages if stage.apart), None)


def planned(method: Method, inputs: int) -> Plan:
    """The plan of a certification of so many inputs."""
    return Plan(
        stages=tuple(Stage(stage.name, stage.counts, stage.samples, stage.keeps) for stage in method.stages),
        chance=method.chance(inputs),
        passing=method.passing,
        figures=method.figures,
        classes=method.task == "classifier",
        radii=method.no_curve is None,
        target_radius=method.known_up_to,
    )
