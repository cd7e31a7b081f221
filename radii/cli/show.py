"""`radii models`, `datasets`, `jobs` and `results`: what the service has."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from radii.cli.certify import follow, outliving_us
from radii.cli.console import out, print_json, print_problem
from radii.cli.report import in_words, print_report, print_results, save_results
from radii.client import Client, ProblemError

Json = dict[str, Any]


def resources(collection: str, resource_id: str | None, *, limit: int, url: str | None, as_json: bool) -> None:
    """List a collection, or show one of it."""
    with Client(url) as client:
        if resource_id is not None:
            document = client.get(resource_id)
            print_json(document) if as_json else _show(document)
            return
        found = list(islice(client.list(collection), limit))
    if as_json:
        print_json(found)
    elif not found:
        out.print(f"no {collection} yet")
    else:
        print_list(found)


def job(job_id: str, *, wait: bool, cancel: bool, url: str | None, as_json: bool) -> None:
    """Show, follow or cancel a certification."""
    with Client(url) as client:
        document = client.cancel(job_id) if cancel else client.get(job_id)
        if wait:
            with outliving_us(job_id):
                document = follow(client, document)
        if as_json:
            print_json(document)
            return
        _show(document)
        if document["state"] == "succeeded":
            print_report(client, document)


def results(job_id: str, *, output: Path | None, url: str | None, as_json: bool) -> None:
    """Show the results, or write them to a file."""
    with Client(url) as client:
        if output is not None:
            save_results(client, job_id, output)
        elif as_json:
            for row in client.results(job_id):
                sys.stdout.write(json.dumps(row) + "\n")
        else:
            print_results(client.results(job_id))


def print_list(documents: list[Json]) -> None:
    """One row a resource."""
    table = Table("id", "state", "what", "created", box=None, header_style="bold", padding=(0, 1))
    for document in documents:
        table.add_row(document["id"], _state(document), escape(_what(document)), document["created_at"][:19])
    out.print(table)


def _show(document: Json) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for key, value in document.items():
        if value is not None and key not in ("problem", "state"):
            table.add_row(key, escape(value if isinstance(value, str) else json.dumps(value)))
        elif key == "state":
            table.add_row(key, _state(document))
    out.print(table)
    if document.get("problem"):
        print_problem(ProblemError(document["problem"]))


def _what(document: Json) -> str:
    if "method" not in document:
        return str(document["name"])
    progress = document["progress"]
    return f"{in_words(document['method'])}  {progress['done'] / max(progress['total'], 1):.0%}"


def _state(document: Json) -> str:
    colours = {"ready": "green", "succeeded": "green", "rejected": "red", "failed": "red"}
    state = document["state"]
    return f"[{colours.get(state, 'yellow')}]{state}[/]"
