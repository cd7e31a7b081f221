"""The two consoles, and how a problem looks on them. Results go to standard output, all else to standard error."""

import json
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from radii.client.errors import ProblemError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Say what is wrong, and end with exit code ``code``."""
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(document: Any) -> None:
    """One JSON document on standard output, for programs."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_problem(problem: ProblemError) -> None:
    """Title, detail and remedy, then what else the problem lists: obstacles, reasons, errors."""
    err.print(f"[bold red]{escape(problem.title)}[/]", soft_wrap=True)
    if problem.detail:
        err.print(escape(problem.detail), soft_wrap=True)
    for name in ("obstacles", "reasons", "errors"):
        rows = problem.document.get(name)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            err.print(_table(rows))
    if problem.remedy:
        err.print(f"[bold]What to do:[/] {escape(problem.remedy)}", soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*columns, header_style="bold")
    for row in rows:
        table.add_row(*(escape(_text(row.get(column))) for column in columns))
    return table


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
