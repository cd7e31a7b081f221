"""The commands. Each imports its own module when it runs."""

import sys
from typing import Annotated

import typer

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
        from radii.cli.console import err, print_problem
        from radii.client.errors import ClientError, ProblemError

        if isinstance(error, ProblemError):
            print_problem(error)
        elif isinstance(error, ClientError | OSError | ValueError):
            err.print(f"[bold red]error:[/] {error}", soft_wrap=True, markup=True)
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
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/settings.md.")] = False,
) -> None:
    """List the service's settings."""
    from radii.cli.settings import print_help, print_markdown

    if markdown:
        print_markdown()
    else:
        print_help("radii up")
