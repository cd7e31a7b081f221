"""`radii workers`: who is there, what each does, since when, how fast."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Column, Table

from radii.cli.connection import connected
from radii.cli.console import out, plain, print_json

GIB = 2**30


def command(*, url: str | None, as_json: bool) -> None:
    """List the workers."""
    with connected(url) as client:
        found = client.workers()
    if as_json:
        print_json(found)
    elif not found:
        out.print("no worker is alive")
    else:
        out.print(_table(found))


def _table(workers: Sequence[dict[str, Any]]) -> Table:
    table = Table(Column("worker", no_wrap=True), box=None, header_style="bold", padding=(0, 1))
    for name in ("takes", "version", "up for", "device", "memory", "a second", "does"):
        table.add_column(name)
    for worker in workers:
        pace = worker["samples_per_second"]
        table.add_row(
            plain(worker["name"]),
            " ".join(worker["queues"]),
            plain(worker["version"]),
            _ago(worker["started_at"]),
            plain(worker["device"] or "none yet"),
            _memory(worker),
            "" if pace is None else f"{pace:,.0f}",
            plain(_does(worker["work"])),
        )
    return table


def _does(work: dict[str, Any] | None) -> str:
    if work is None:
        return "idle"
    what = f"{work['kind']} {work['id']}" if work["id"] else f"a {work['kind']} of another tenant"
    what += f" of {work['job']}" if work["job"] != work["id"] else ""
    return f"{what} for {_ago(work['since'])}" + (f": {work['doing']}" if work["doing"] else "")


def _memory(worker: dict[str, Any]) -> str:
    if worker["memory"] is None:
        return ""
    return f"{worker['memory'] / GIB:.1f} of {worker['memory_total'] / GIB:.1f} GiB"


def _ago(at: str) -> str:
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
