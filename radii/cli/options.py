"""Arguments and options that several commands share."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from radii.cli import arguments

METHOD = "Method"
INPUT = "Input of the model"


class TaskName(StrEnum):
    CLASSIFIER = "classifier"
    BINARY = "binary"
    REGRESSOR = "regressor"
    DENOISER = "denoiser"


class ClassifierName(StrEnum):
    CLASSIFIER = "classifier"
    BINARY = "binary"


def method_option(meaning: str) -> Any:
    return typer.Option(help=meaning, rich_help_panel=METHOD, show_default=False)


def input_option(
    meaning: str, parser: Callable[[str], Any], example: str, default: str, name: str | None = None
) -> Any:
    names = [name] if name else []
    return typer.Option(
        *names, parser=parser, metavar=example, help=meaning, rich_help_panel=INPUT, show_default=default
    )


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


Url = Annotated[
    str | None, typer.Option("--url", envvar="RADII_URL", help="The service.", show_default="this machine's port 8000")
]
Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="Show this one.", show_default=False)]
Priority = Annotated[int | None, typer.Option(min=0, max=9, help="0 to 9: higher goes first.", show_default="5")]
Limit = Annotated[int, typer.Option(min=1, help="How many to list, newest first.")]
ArchitectureOption = Annotated[
    Any,
    typer.Option(
        parser=arguments.architecture,
        metavar="NAME[:JSON]",
        help="Of a safetensors file: mlp, resnet, wide_resnet, vgg or convnext, and its parameters.",
        show_default=False,
    ),
]
NetworkFile = Annotated[
    Path, typer.Argument(help="An ONNX, graph.json or safetensors file.", exists=True, dir_okay=False)
]
ExternalData = Annotated[
    list[Path] | None,
    typer.Option(help="A file of its weights; those that lie beside it are found.", exists=True, dir_okay=False),
]
TaskOption = Annotated[TaskName, typer.Option("--task", help="What the network is for.")]
OfClasses = Annotated[ClassifierName, typer.Option("--task", help="binary: its output is one logit, or its sigmoid.")]
OutputNamed = Annotated[
    str | None,
    typer.Option("--output-name", help="Name of the network's output, of several.", show_default=False),
]
OutputName = Annotated[str | None, typer.Option(help="Name of the output, of several.", show_default=False)]
ShapeOption = Annotated[
    Any, typer.Option(parser=arguments.shape, metavar="1,8,8", help="Of one input, if the file does not say it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ModelName = Annotated[str, typer.Argument(help="An ONNX, graph.json or safetensors file, or the id of a model.")]
DataName = Annotated[
    str, typer.Argument(help="A .npz file with x, and y if there are labels; or the id of a data set.")
]
RadiusKind = Annotated[
    str,
    typer.Option(
        parser=arguments.radius_kind,
        metavar="KIND",
        help="How to certify: by smoothing, lipschitz, local, splitting, or another kind that gives radii.",
    ),
]
Sigma = Annotated[float | None, method_option("Standard deviation of the noise of smoothing.")]
FamilyWise = Annotated[bool | None, method_option("alpha is for all inputs of smoothing together.")]
GridMode = Annotated[
    str | None,
    method_option(
        "Noise of smoothing in whole steps of 8-bit inputs: auto (default), on (rounds others to them) or off."
    ),
]
Precision = Annotated[
    str | None, method_option("What the network runs in under noise: float32 (default), or bfloat16, another network.")
]
Denoiser = Annotated[
    str | None,
    typer.Option(
        help="An ONNX file, or the id of a model, that denoises the input, for smoothing.", show_default=False
    ),
]
Shape = Annotated[Any, input_option("Of one input.", arguments.shape, "1,8,8", "that of the data")]
Range = Annotated[Any, input_option("Of its values.", arguments.numbers, "LOW,HIGH", "0,1", name="--range")]
Mean = Annotated[Any, input_option("The network sees (x - mean) / std.", arguments.numbers, "NUMBERS", "0")]
Std = Annotated[Any, input_option("One number, or one a channel.", arguments.numbers, "NUMBERS", "1")]
ModelTitle = Annotated[str | None, typer.Option("--name", help="Name of the model.", show_default="the file's")]
Subset = Annotated[
    Any,
    typer.Option(parser=arguments.subset, metavar="START:STOP[:STEP]", help="Inputs to take.", show_default="all"),
]
