"""The commands. Each imports its own module when it runs."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from radii.cli import arguments

METHOD = "Method (defaults: n0 100, n 100,000, alpha 0.001; rtol 1e-6)"
INPUT = "Input of the model"


RESULTS = Path("results.jsonl")


def _method(meaning: str) -> Any:
    return typer.Option(help=meaning, rich_help_panel=METHOD, show_default=False)


def _input(meaning: str, parser: Callable[[str], Any], example: str, default: str, name: str | None = None) -> Any:
    names = [name] if name else []
    return typer.Option(
        *names, parser=parser, metavar=example, help=meaning, rich_help_panel=INPUT, show_default=default
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


class Kind(StrEnum):
    SMOOTHING = "smoothing"
    LIPSCHITZ = "lipschitz"


app = typer.Typer(
    name="radii",
    help="How far can an input move before the model's answer may change? Certified robustness, as a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Url = Annotated[
    str | None, typer.Option("--url", envvar="RADII_URL", help="The service.", show_default="this machine's port 8000")
]
Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="Show this one.", show_default=False)]
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
OutputName = Annotated[str | None, typer.Option(help="Name of the output, of several.", show_default=False)]
ShapeOption = Annotated[
    Any, typer.Option(parser=arguments.shape, metavar="1,8,8", help="Of one input, with --architecture.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def main() -> None:
    """The entry point: what a command may raise becomes a message and an exit code, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `radii results ... | head`
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        from radii.cli.console import err, plain, print_problem
        from radii.client.errors import ClientError, ProblemError

        if isinstance(error, ProblemError):
            print_problem(error)
        elif isinstance(error, ClientError | OSError | ValueError):
            err.print(f"[bold red]error:[/] {plain(str(error))}", soft_wrap=True)
        else:
            raise
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from radii import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[SETTINGS]",
)
def up(context: typer.Context) -> None:
    """Start the service on this machine: API, workers and a private Redis. `radii up --help` lists the settings."""
    from radii.cli.up import up

    up(context.args)


@app.command()
def certify(
    model: Annotated[str, typer.Argument(help="An ONNX, graph.json or safetensors file, or the id of a model.")],
    data: Annotated[
        str, typer.Argument(help="A .npz file with x, and y if there are labels; or the id of a data set.")
    ],
    method: Annotated[Kind, typer.Option(help="How to certify.")] = Kind.SMOOTHING,
    sigma: Annotated[float | None, _method("smoothing: standard deviation of the noise.")] = None,
    noise: Annotated[
        str | None, _method("smoothing: its law: gaussian (default), or uniform or laplace, which certify l1 radii.")
    ] = None,
    alpha: Annotated[float | None, _method("smoothing: chance that a certificate is false.")] = None,
    n0: Annotated[int | None, _method("smoothing: pilot samples.")] = None,
    n: Annotated[int | None, _method("smoothing: samples an input.")] = None,
    target_radius: Annotated[
        float | None, _method("smoothing: decide about this radius alone, with as few samples as that needs.")
    ] = None,
    scores: Annotated[
        str | None, _method("smoothing: hard (default) counts votes; soft takes means of scores (LVM-RS).")
    ] = None,
    family_wise: Annotated[bool | None, _method("smoothing: alpha is for all inputs together.")] = None,
    bound: Annotated[str | None, _method("lipschitz: rule that composes the layers. Default: auto, the best.")] = None,
    rtol: Annotated[float | None, _method("lipschitz: slack of a layer's bound.")] = None,
    norm: Annotated[str | None, _method("Norm of the radii: l2 (default), linf or l1.")] = None,
    denoiser: Annotated[
        str | None,
        typer.Option(
            help="smoothing: an ONNX file, or the id of a model, that denoises its input.", show_default=False
        ),
    ] = None,
    cross_check: Annotated[
        int | None, _method("Inputs to attack inside their radius. Default: one in 50, at most 10.")
    ] = None,
    shape: Annotated[Any, _input("Of one input.", arguments.shape, "1,8,8", "that of the data")] = None,
    range_: Annotated[Any, _input("Of its values.", arguments.numbers, "LOW,HIGH", "0,1", name="--range")] = None,
    mean: Annotated[Any, _input("The network sees (x - mean) / std.", arguments.numbers, "NUMBERS", "0")] = None,
    std: Annotated[Any, _input("One number, or one a channel.", arguments.numbers, "NUMBERS", "1")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.", show_default="the file's")] = None,
    architecture: ArchitectureOption = None,
    subset: Annotated[
        Any,
        typer.Option(
            parser=arguments.subset, metavar="START:STOP[:STEP]", help="Inputs to certify.", show_default="all"
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the results: one line of JSON an input.")
    ] = RESULTS,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload a model and data, certify, and show how robust the model is."""
    from radii.cli import certify

    mode = None if target_radius is None else "decide"
    smoothing = {
        "sigma": sigma,
        "noise": noise,
        "scores": scores,
        "alpha": alpha,
        "n0": n0,
        "n": n,
        "family_wise": family_wise,
    }
    decision = {"mode": mode, "target_radius": target_radius}
    lipschitz = {"bound": bound, "rtol": rtol}
    question = {"kind": method.value, **smoothing, **decision, **lipschitz, "norm": norm, "cross_check": cross_check}
    settings = {"shape": shape, "range": range_, "mean": mean, "std": std, "name": name, "architecture": architecture}
    certify.command(
        model,
        data,
        _given(question),
        denoiser=denoiser,
        settings=_given(settings),
        subset=subset,
        url=url,
        output=output,
        as_json=as_json,
    )


@app.command()
def inspect(
    file: NetworkFile,
    external_data: ExternalData = None,
    output: OutputName = None,
    architecture: ArchitectureOption = None,
    shape: ShapeOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a network, and which methods can certify it. Works without the service."""
    from radii.cli import inspect

    inspect.command(file, external_data or [], output=output, architecture=architecture, shape=shape, as_json=as_json)


@app.command()
def lipschitz(
    file: NetworkFile,
    bound: Annotated[str | None, typer.Option(help="Rule that composes the layers.", show_default="auto")] = None,
    rtol: Annotated[float | None, typer.Option(help="Slack of a layer's bound.", show_default="1e-6")] = None,
    mean: Annotated[Any, _input("The network sees (x - mean) / std.", arguments.numbers, "NUMBERS", "0")] = None,
    std: Annotated[Any, _input("One number, or one a channel.", arguments.numbers, "NUMBERS", "1")] = None,
    external_data: ExternalData = None,
    output: OutputName = None,
    architecture: ArchitectureOption = None,
    shape: ShapeOption = None,
    as_json: AsJson = False,
) -> None:
    """Bound how much a network can amplify a change of its input, layer by layer. Works without the service."""
    from radii.cli import lipschitz

    lipschitz.command(
        file,
        external_data or [],
        _given({"kind": "lipschitz", "bound": bound, "rtol": rtol}),
        mean=mean or [0.0],
        std=std or [1.0],
        output=output,
        architecture=architecture,
        shape=shape,
        as_json=as_json,
    )


@app.command()
def models(model_id: Id = None, limit: Limit = 20, url: Url = None, as_json: AsJson = False) -> None:
    """List the models, or show one."""
    from radii.cli import show

    show.resources("models", model_id, limit=limit, url=url, as_json=as_json)


@app.command()
def datasets(dataset_id: Id = None, limit: Limit = 20, url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets, or show one."""
    from radii.cli import show

    show.resources("datasets", dataset_id, limit=limit, url=url, as_json=as_json)


@app.command()
def jobs(
    job_id: Id = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
    limit: Limit = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the certifications, or show, follow or cancel one."""
    from radii.cli import show

    if job_id is None:
        if wait or cancel:
            raise typer.BadParameter("name the certification: radii jobs cert_...")
        show.resources("certifications", None, limit=limit, url=url, as_json=as_json)
    else:
        show.job(job_id, wait=wait, cancel=cancel, url=url, as_json=as_json)


@app.command()
def results(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A certification (cert_...).")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file, one line of JSON an input.")] = None,
    url: Url = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON an input.")] = False,
) -> None:
    """Show the results of a certification, or write them to a file."""
    from radii.cli import show

    show.results(job_id, output=output, url=url, as_json=as_json)
