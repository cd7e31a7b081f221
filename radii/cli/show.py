"""`radii models`, `datasets`, `jobs` and `results`: what the service has."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from radii.cli.certify import follow
from radii.cli.connection import connected, outliving_us
from radii.cli.console import is_table, out, plain, print_json, print_problem, table_of, text_of
from radii.cli.report import in_brief, print_report, print_results, save_results
from radii.client import ProblemError

Json = dict[str, Any]


def resources(collection: str, resource_id: str | None, *, limit: int, url: str | None, as_json: bool) -> None:
    """List a collection, or show one of it."""
    with connected(url) as client:
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
    with connected(url) as client:
        document = client.cancel(job_id) if cancel else client.get(job_id)
        if wait:
            with outliving_us(client, job_id):
                document = follow(client, document)
        if as_json:
            print_json(document)
            return
        if document["state"] == "succeeded":
            _show(
                {
                    key: value
                    for key, value in document.items()
                    if key not in ("method", "progress", "summary", "shards")
                }
            )
            print_report(client, document)
        else:
            _show({**document, "shards": _work(document.get("shards"))})


def results(job_id: str, *, output: Path | None, url: str | None, as_json: bool) -> None:
    """Show the results, or write them to a file."""
    with connected(url) as client:
        if output is not None:
            save_results(client, job_id, output)
        elif as_json:
            for row in client.results(job_id):
                sys.stdout.write(json.dumps(row) + "\n")
        else:
            print_results(client.results(job_id))


def print_list(documents: list[Json]) -> None:
    """One row a resource."""
    table = Table(Column("id", no_wrap=True), "state", "what", "created", box=None, header_style="bold", padding=(0, 1))
    for document in documents:
        table.add_row(
            document["id"], _state(document), plain(_what(document)), document["created_at"][:16].replace("T", " ")
        )
    out.print(table)


def _show(document: Json) -> None:
    facts = Table(box=None, show_header=False, padding=(0, 1))
    tables = {}
    for key, value in _flat({key: value for key, value in document.items() if key != "problem"}):
        if key == "state":
            facts.add_row(key, _state(document))
        elif is_table(value):
            tables[key] = value
        elif value is not None:
            facts.add_row(key, plain(text_of(value)))
    out.print(facts)
    for key, rows in tables.items():
        out.print(f"\n [bold]{key}[/]")
        out.print(table_of(rows))
    if document.get("problem"):
        print_problem(ProblemError(document["problem"]))


def _work(found: Json | None) -> Json:
    """Shards, those that tell something one a row; a service of an earlier version does not speak of any."""
    if not found:
        return {}
    rows = [
        {
            "shard": shard["id"],
            "state": shard["state"],
            "inputs": f"{shard['start']} to {shard['stop'] - 1}",
            "attempts": shard["attempts"],
            "worker": shard["worker"],
            "doing": shard.get("doing"),  # unknown to earlier versions
            "last one lost": shard["cause"] and shard["cause"]["detail"],
        }
        for shard in found["items"]
    ]
    return {**found["states"], "under way or failed": rows}


def _flat(document: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _what(document: Json) -> str:
    if "states" in document:
        progress = document["progress"]
        return f"{document['name'] or ''}  {progress['done']} of {progress['total']} ended".strip()
    if "method" not in document:
        task = document.get("task", "classifier")  # a data set has none
        return str(document["name"]) + ("" if task == "classifier" else f"  ({task})")
    progress = document["progress"]
    return f"{in_brief(document['method'])}  {progress['done'] / max(progress['total'], 1):.0%}"


def _state(document: Json) -> str:
    colours = {"ready": "green", "succeeded": "green", "rejected": "red", "failed": "red"}
    state = document["state"]
    return f"[{colours.get(state, 'yellow')}]{state}[/]"
