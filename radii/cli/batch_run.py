"""`radii batch`: start all that a file names together, follow it, show it as one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from radii.cli.batch_bars import bars
from radii.cli.batch_file import BatchFile, read
from radii.cli.batch_start import Folder, start
from radii.cli.connection import before_it_started, connected, outliving_us
from radii.cli.console import err, fail, out, plain, print_json
from radii.cli.report import in_brief, percent
from radii.client import Client
from radii.client.batches import TABLES
from radii.methods.lines import DECIMALS, down

Json = dict[str, Any]


def command(
    what: str,
    *,
    cancel: bool,
    radii: Sequence[float],
    priority: int | None,
    output: Path | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Do what the command line says: start what a file names, or go on with the batch of that id. Exit code 1 where not
    all of it succeeds, and 2 if the command or the file can't be right."""
    if output is not None and output.suffix[1:] not in TABLES:
        fail(f"--output ends with one of {', '.join(f'.{kind}' for kind in TABLES)}", code=2)
    is_id = what.startswith("bat_") and not Path(what).exists()
    if cancel and not is_id:
        fail("name the batch to cancel: radii batch bat_... --cancel", code=2)
    if priority is not None and is_id:
        fail("a batch has its priority from its start: radii batch FILE --priority NUMBER", code=2)
    asked = None if is_id else _asked(Path(what))
    with connected(url) as client:
        if asked is None:
            batch = client.cancel(what) if cancel else client.get(what)
        else:
            with before_it_started():
                batch = start(client, asked, Folder(Path(what).parent), priority=priority)
        with outliving_us(client, batch["id"]):
            with bars() as show:
                batch = client.wait(batch, on_change=show)
            _show(client, batch, radii, output, as_json)
    if batch["state"] != "succeeded" and not cancel:
        raise typer.Exit(1)


def _asked(file: Path) -> BatchFile:
    """What the file says. Ends with exit code 2 if that can't be right, or names files that are not there."""
    if not file.is_file():
        fail(f"there is no file {file}", code=2)
    try:
        asked = read(file)
    except ValueError as error:
        fail(str(error), code=2)
    if missing := Folder(file.parent).missing(asked):
        fail("\n".join(f"there is no file {name}, which {file} names" for name in missing), code=2)
    return asked


def _show(client: Client, batch: Json, radii: Sequence[float], output: Path | None, as_json: bool) -> None:
    if output is not None:
        table = client.batch_table_as(output.suffix[1:], batch["id"], radii=radii)
        draft = output.with_name(f".{output.name}.part")
        try:
            draft.write_bytes(table)
            draft.replace(output)
        finally:
            draft.unlink(missing_ok=True)
    rows = client.batch_table(batch["id"], radii=radii)
    if as_json:
        print_json({**batch, "table": rows})
        return
    if rows:  # not all are deleted
        out.print(_table(rows, radii))
    for row in rows:
        if row["problem"]:
            err.print(f"[bold red]{row['certification_id']} failed:[/] {plain(row['problem'])}", soft_wrap=True)
    kept = "" if output is None else f"The table: {plain(str(output))}   "
    out.print(f"{kept}The batch: {batch['id']}, {batch['state']}", soft_wrap=True)


def _table(rows: Sequence[Json], radii: Sequence[float]) -> Table:
    """What is the same in all rows is said once, above."""
    words = [_words(row) for row in rows]
    same = (
        {name: text for name, text in words[0].items() if all(one[name] == text for one in words)} if words[1:] else {}
    )
    norms = {row["norm"] for row in rows if row["median_radius"] is not None}
    norm = f"\n({norms.pop()})" if len(norms) == 1 else ""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_style="", title_justify="left")
    table.title = "   ".join(f"[bold]{name}[/] {text}" for name, text in same.items()) or None
    for name in (name for name in words[0] if name not in same):
        table.add_column(name, overflow="fold")
    for name in ("accuracy", f"median\nradius{norm}", *(f"certified\nat {radius:g}" for radius in radii)):
        table.add_column(name, justify="right")
    for row, told in zip(rows, words, strict=True):
        radius, shares = row["median_radius"], [point["certified_accuracy"] for point in row["certified_accuracy"]]
        median = "-" if radius is None else down(radius, DECIMALS.get(row["norm"], 4))
        table.add_row(
            *(text for name, text in told.items() if name not in same),
            _share(row["accuracy"]),
            median if norm or radius is None else f"{median} ({row['norm']})",
            *map(_share, shares or [None] * len(radii)),
            style="red" if row["state"] == "failed" else None,
        )
    return table


def _words(row: Json) -> dict[str, str]:
    """What a row is about, and how it ended."""
    named = {"model": row["model"], "data": row["dataset"], "method": in_brief(row["method"]), "state": row["state"]}
    return {name: plain(text) for name, text in named.items()}


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)
