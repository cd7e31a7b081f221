"""The commands that answer as smoothed networks do, input by input. Each imports its own module when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from radii.cli.options import (
    ArchitectureOption,
    AsJson,
    ClassifierName,
    DataName,
    Denoiser,
    FamilyWise,
    GridMode,
    Mean,
    ModelName,
    ModelTitle,
    OfClasses,
    OutputNamed,
    Precision,
    Range,
    Shape,
    Sigma,
    Std,
    Subset,
    Url,
    given,
    method_option,
)


def predict(
    model: ModelName,
    data: DataName,
    sigma: Sigma = None,
    noise: Annotated[str | None, method_option("Its law: gaussian (default), uniform or laplace.")] = None,
    alpha: Annotated[
        float | None, method_option("Chance that an answer is not that of the smoothed classifier. Default: 0.001.")
    ] = None,
    n: Annotated[int | None, method_option("Samples an input. Default: 1000.")] = None,
    grid: GridMode = None,
    precision: Precision = None,
    family_wise: FamilyWise = None,
    denoiser: Denoiser = None,
    shape: Shape = None,
    range_: Range = None,
    mean: Mean = None,
    std: Std = None,
    name: ModelTitle = None,
    architecture: ArchitectureOption = None,
    task: OfClasses = ClassifierName.CLASSIFIER,
    output_name: OutputNamed = None,
    subset: Subset = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, one line of JSON an input.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Answer as the smoothed classifier does, which is what `radii certify --sigma` certifies; abstain in doubt."""
    from radii.cli import certify

    noisy = {"sigma": sigma, "noise": noise, "alpha": alpha, "n": n, "grid": grid, "precision": precision}
    settings = {"shape": shape, "range": range_, "mean": mean, "std": std, "name": name, "architecture": architecture}
    settings |= {"task": task.value, "output": output_name}
    certify.command(
        model,
        data,
        given({"kind": "prediction", **noisy, "family_wise": family_wise}),
        denoiser=denoiser,
        settings=given(settings),
        subset=subset,
        url=url,
        output=output,
        as_json=as_json,
    )


def median(
    model: Annotated[str, typer.Argument(help="A regressor: an ONNX file, or the id of a model.")],
    data: Annotated[str, typer.Argument(help="A .npz file with x, or the id of a data set.")],
    sigma: Sigma = None,
    radius: Annotated[float | None, method_option("The l2 radius within which the bounds hold.")] = None,
    alpha: Annotated[
        float | None, method_option("Chance that a bound of an input is false, of all outputs. Default: 0.001.")
    ] = None,
    n: Annotated[int | None, method_option("Samples an input. Default: 10,000.")] = None,
    grid: GridMode = None,
    precision: Precision = None,
    family_wise: FamilyWise = None,
    denoiser: Denoiser = None,
    shape: Shape = None,
    range_: Range = None,
    mean: Mean = None,
    std: Std = None,
    name: ModelTitle = None,
    output_name: OutputNamed = None,
    subset: Subset = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, one line of JSON an input.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Bound a regressor's outputs: their medians under noise, at every point within a radius of each input."""
    from radii.cli import certify

    noisy = {"sigma": sigma, "radius": radius, "alpha": alpha, "n": n, "grid": grid, "precision": precision}
    settings = {"shape": shape, "range": range_, "mean": mean, "std": std, "name": name, "task": "regressor"}
    settings["output"] = output_name
    certify.command(
        model,
        data,
        given({"kind": "median", **noisy, "family_wise": family_wise}),
        denoiser=denoiser,
        settings=given(settings),
        subset=subset,
        url=url,
        output=output,
        as_json=as_json,
    )
