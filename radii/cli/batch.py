"""The command about batches. It imports its own module when it runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radii.cli import arguments
from radii.cli.options import AsJson, Limit, Priority, Url


def batch(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|ID]",
            help="A YAML or JSON file (docs/batches.md), or the id of a batch (bat_...). Without: list them.",
            show_default=False,
        ),
    ] = None,
    radii: Annotated[
        Any,
        typer.Option(
            parser=arguments.numbers,
            metavar="NUMBERS",
            help="Show certified accuracy at these radii, e.g. 0.25,0.5.",
            show_default=False,
        ),
    ] = None,
    priority: Priority = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the table: .csv, .json or .parquet.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="End it.")] = False,
    limit: Limit = 20,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Certify many models, on many data sets, by many methods, as one file says; or follow a batch to its end."""
    from radii.cli import batch_run, show

    if what is None:
        if cancel or output or priority is not None:
            raise typer.BadParameter("name the batch: radii batch bat_...")
        show.resources("batches", None, limit=limit, url=url, as_json=as_json)
    else:
        batch_run.command(
            what, cancel=cancel, radii=radii or [], priority=priority, output=output, url=url, as_json=as_json
        )
