"""The commands. Each imports its own module when it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from radii.cli import keys, variables
from radii.cli.batch import batch
from radii.cli.late import import_late
from radii.cli.options import (
    ArchitectureOption,
    AsJson,
    ClassifierName,
    DataName,
    Denoiser,
    ExternalData,
    FamilyWise,
    GridMode,
    Id,
    Limit,
    Mean,
    ModelName,
    ModelTitle,
    NetworkFile,
    OfClasses,
    OutputName,
    OutputNamed,
    Precision,
    Priority,
    RadiusKind,
    Range,
    Shape,
    ShapeOption,
    Sigma,
    Std,
    Subset,
    TaskName,
    TaskOption,
    Url,
    given,
    method_option,
)
from radii.cli.smoothed import median, predict
from radii.cli.threads import bound_threads

RESULTS = Path("results.jsonl")


app = typer.Typer(
    name="radii",
    help="How far can an input move before the model's answer may change? Certified robustness, as a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="\n\n".join(
        ["Variables that the commands read (docs/settings.md has all):"]
        + [f"[cyan]{name}[/] {meaning.replace('`', '')}" for name, meaning in variables.CLIENT.items()]
    ),
)
app.add_typer(keys.app)


def main() -> None:
    """The entry point: what a command may raise becomes a message and an exit code, never a traceback."""
    bound_threads()
    import_late("httpx")  # it takes a third of the start of a command that calls nobody
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
        for note in getattr(error, "__notes__", ()):
            err.print(plain(note), soft_wrap=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from radii import __version__

        typer.echo(__version__)
        raise typer.Exit
    variables.refuse_misspelt()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[SETTINGS]",
)
def up(context: typer.Context) -> None:
    """Start the service on this machine: API, workers and a private Redis. `radii up --help` lists the settings."""
    from radii.cli.up import up

    up(context.args)


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help="What it works on: intake, certify, or both.")] = "intake,certify",
    slots: Annotated[
        int | None, typer.Option(min=1, max=256, help="Shards computed at the same time.", show_default="RADII_WORKERS")
    ] = None,
) -> None:
    """Join a service that is up elsewhere: RADII_DATABASE_URL, RADII_BROKER_URL, RADII_NOISE_SECRET and RADII_BLOB_URL
    say where."""
    from radii.cli import worker

    worker.worker(queues, slots)


@app.command()
def certify(
    model: ModelName,
    data: DataName,
    method: RadiusKind = "smoothing",
    sigma: Sigma = None,
    noise: Annotated[
        str | None,
        method_option("smoothing: its law: gaussian (default), or uniform or laplace, which certify l1 radii."),
    ] = None,
    alpha: Annotated[
        float | None, method_option("smoothing: chance that a certificate is false. Default: 0.001.")
    ] = None,
    n0: Annotated[int | None, method_option("smoothing: pilot samples. Default: 100.")] = None,
    n: Annotated[int | None, method_option("smoothing: samples an input. Default: 100,000.")] = None,
    target_radius: Annotated[
        float | None, method_option("smoothing, local: decide about this radius alone, which takes less.")
    ] = None,
    scores: Annotated[
        str | None, method_option("smoothing: hard (default) counts votes; soft takes means of scores (LVM-RS).")
    ] = None,
    grid: GridMode = None,
    precision: Precision = None,
    family_wise: FamilyWise = None,
    bound: Annotated[
        str | None, method_option("lipschitz: rule that composes the layers. Default: auto, the best.")
    ] = None,
    rtol: Annotated[float | None, method_option("lipschitz: slack of a layer's bound. Default: 1e-6.")] = None,
    budget: Annotated[
        int | None, method_option("lipschitz: work on norms and sharper rules, in 2^30 multiply-adds. Default: 1024.")
    ] = None,
    effort: Annotated[
        str | None, method_option("local: quick, default, or high, which may take minutes an input.")
    ] = None,
    box: Annotated[
        bool | None,
        method_option("local: claim nothing of inputs outside of the model's range; radii are larger, and say less."),
    ] = None,
    norm: Annotated[str | None, method_option("Norm of the radii: l2 (default), linf or l1.")] = None,
    denoiser: Denoiser = None,
    cross_check: Annotated[
        int | None, method_option("Inputs to attack inside their radius. Default: one in 50, at most 10.")
    ] = None,
    shape: Shape = None,
    range_: Range = None,
    mean: Mean = None,
    std: Std = None,
    name: ModelTitle = None,
    architecture: ArchitectureOption = None,
    task: OfClasses = ClassifierName.CLASSIFIER,
    output_name: OutputNamed = None,
    subset: Subset = None,
    priority: Priority = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the results: one line of JSON an input.")
    ] = RESULTS,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload a model and data, certify, and show how robust the model is."""
    from radii.cli import certify
    from radii.methods import KINDS

    has_modes = "mode" in KINDS[method].model_fields
    mode = "decide" if has_modes and target_radius is not None else None
    smoothing = {
        "sigma": sigma,
        "noise": noise,
        "scores": scores,
        "alpha": alpha,
        "n0": n0,
        "n": n,
        "grid": grid,
        "precision": precision,
        "family_wise": family_wise,
    }
    decision = {"mode": mode, "target_radius": target_radius}
    lipschitz = {"bound": bound, "rtol": rtol, "budget": budget}
    local = {"effort": effort, "box": box}
    asked = {**smoothing, **decision, **lipschitz, **local, "norm": norm, "cross_check": cross_check}
    settings = {"shape": shape, "range": range_, "mean": mean, "std": std, "name": name, "architecture": architecture}
    settings |= {"task": task.value, "output": output_name}
    certify.command(
        model,
        data,
        given({"kind": method, **asked}),
        denoiser=denoiser,
        settings=given(settings),
        subset=subset,
        url=url,
        output=output,
        as_json=as_json,
        priority=priority,
    )


app.command()(predict)
app.command()(median)
app.command()(batch)


@app.command()
def inspect(
    file: NetworkFile,
    task: TaskOption = TaskName.CLASSIFIER,
    external_data: ExternalData = None,
    output: OutputName = None,
    architecture: ArchitectureOption = None,
    shape: ShapeOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a network, and which methods can certify it. Works without the service."""
    from radii.cli import inspect

    network = {"output": output, "architecture": architecture, "shape": shape}
    inspect.command(file, external_data or [], task=task.value, as_json=as_json, **network)


@app.command()
def lipschitz(
    file: NetworkFile,
    task: OfClasses = ClassifierName.CLASSIFIER,
    bound: Annotated[str | None, typer.Option(help="Rule that composes the layers.", show_default="auto")] = None,
    rtol: Annotated[float | None, typer.Option(help="Slack of a layer's bound.", show_default="1e-6")] = None,
    budget: Annotated[
        int | None,
        typer.Option(help="Work on norms and sharper rules, in 2^30 multiply-adds.", show_default="1024"),
    ] = None,
    mean: Mean = None,
    std: Std = None,
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
        given({"kind": "lipschitz", "bound": bound, "rtol": rtol, "budget": budget}),
        mean=mean or [0.0],
        std=std or [1.0],
        task=task.value,
        output=output,
        architecture=architecture,
        shape=shape,
        as_json=as_json,
    )


@app.command()
def verify_instance(
    file: NetworkFile,
    instance: Annotated[Path, typer.Argument(help="A property in VNN-LIB 1.0.", exists=True, dir_okay=False)],
    budget: Annotated[int, typer.Option(help="Parts of boxes that are looked at.", min=1)] = 4096,
    external_data: ExternalData = None,
    output: OutputName = None,
) -> None:
    """Answer a property as VNN-COMP counts: unsat (proved), sat (with a counterexample), unknown. Needs no service."""
    from radii.cli import verify_instance

    verify_instance.command(file, instance, budget=budget, external_data=external_data or [], output=output)


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
def workers(url: Url = None, as_json: AsJson = False) -> None:
    """List the workers that are there, and what each does."""
    from radii.cli import workers

    workers.command(url=url, as_json=as_json)


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="upl_..., mdl_..., dat_..., cert_... or bat_...")],
    cascade: Annotated[bool, typer.Option("--cascade", help="And what needs them, ending what runs.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete uploads, models, data sets, certifications or batches."""
    from radii.cli import deleting

    deleting.delete(ids, cascade=cascade, url=url, as_json=as_json)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
) -> None:
    """Remove what the service keeps no longer, and files that nothing names: on its machine, with its settings. Workers
    do the same every minute, and look for such files every day."""
    from radii.cli import deleting

    deleting.collect(dry_run=dry_run)


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
