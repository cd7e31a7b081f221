"""How a batch gets on: on a terminal a bar for all of it and one for each running job, elsewhere lines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from radii.cli.console import err, plain
from radii.cli.report import in_brief

Json = dict[str, Any]
Show = Callable[[Json], None]


@contextmanager
def bars() -> Iterator[Show]:
    """Shows each document of a batch that it is given."""
    if not err.is_terminal:
        yield _lines()
        return
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.table import Column

    # The words stand last, where a narrow terminal cuts them.
    words = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    columns = BarColumn(bar_width=20), TaskProgressColumn(), Remaining(), words
    with Progress(*columns, console=err, expand=True) as bar:
        whole = bar.add_task("certifying", total=1.0)
        jobs: dict[str, TaskID] = {}

        def show(batch: Json) -> None:
            bar.update(whole, completed=batch["progress"]["fraction"], description=_of_all(batch))
            running = {job["id"]: job for job in batch["certifications"] if job["state"] == "running"}
            for gone in jobs.keys() - running.keys():
                bar.remove_task(jobs.pop(gone))
            for job_id, job in running.items():
                if job_id not in jobs:
                    jobs[job_id] = bar.add_task(named(job), total=job["progress"]["total"])
                bar.update(jobs[job_id], completed=job["progress"]["done"])

        yield show


def named(job: Json) -> str:
    """A certification of a batch in words."""
    return plain(f"{in_brief(job['method'])}: {job['model']} on {job['dataset']}")


def _lines() -> Show:
    shown = -1

    def show(batch: Json) -> None:
        nonlocal shown
        # All samples may be counted before the last job has ended.
        tenth = 10 if batch["ended"] else min(int(10 * batch["progress"]["fraction"]), 9)
        if tenth > shown:
            shown = tenth
            err.print(f"{_of_all(batch)}: {tenth * 10} %", soft_wrap=True)

    return show


def _of_all(batch: Json) -> str:
    progress = batch["progress"]
    return f"certifying, {progress['done']} of {progress['total']} ended"
