"""The two consoles, and how a problem looks on them. Results go to standard output, all else to standard error."""

import json
import sys
from typing import Any, NoReturn, TypeGuard

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from radii.client.errors import ProblemError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


WHERE = ("shard", "worker", "attempts", "log")  # what a problem that a worker met says of that


def plain(text: str) -> str:
    """Text for rich markup. What came over the network must not move the cursor, nor colour anything."""
    return escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text))


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Say what is wrong, and end with exit code ``code``."""
    err.print(f"[bold red]error:[/] {plain(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(document: Any) -> None:
    """One JSON document on standard output, for programs."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_problem(problem: ProblemError) -> None:
    """Title, detail and remedy, what else the problem lists (obstacles, reasons, errors), and where it was met."""
    err.print(f"[bold red]{plain(problem.title)}[/]", soft_wrap=True)
    if problem.detail:
        err.print(plain(problem.detail), soft_wrap=True)
    for name in ("obstacles", "reasons", "errors"):
        rows = problem.document.get(name)
        if is_table(rows):
            err.print(f"[bold]{name}[/]")  # which the remedy may speak of
            err.print(table_of(rows))
    for misfit in problem.document.get("misfits") or ():
        places = ", ".join(str(item["index"]) for item in misfit["items"])
        err.print(f"[bold]{places}:[/] {plain(misfit['detail'])} {plain(misfit['remedy'])}", soft_wrap=True)
    if problem.remedy:
        err.print(f"[bold]What to do:[/] {plain(problem.remedy)}", soft_wrap=True)
    if where := [f"{name} {problem.document[name]}" for name in WHERE if name in problem.document]:
        err.print(f"[bold]Where:[/] {plain(', '.join(where))}", soft_wrap=True)


def is_table(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether a value is a list of documents."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def table_of(rows: list[dict[str, Any]]) -> Table:
    """A table of documents that have much the same fields. A word too long for a line goes on in the next one."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(text_of(row.get(column))) for column in columns))
    return table


def text_of(value: Any) -> str:
    """A value in print."""
    if value is None or value == []:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
