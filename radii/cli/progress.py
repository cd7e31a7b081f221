"""A bar on a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape

from radii.cli.console import err

Advance = Callable[[int, int], None]  # done, total


@contextmanager
def progress(what: str, unit: str) -> Iterator[Advance]:
    """Shows how ``what`` gets on, in ``unit`` ("bytes", "samples", "inputs"): rate, and when it may be done."""
    if not err.is_terminal:
        yield _lines(what)
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{_short(speed)} {unit}/s" if speed else "", style="dim")

    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Rate(), Remaining()]
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Advance:
    shown = -1

    def advance(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // max(total, 1)
        if tenth > shown:
            shown = tenth
            err.print(f"{escape(what)}: {tenth * 10} %", soft_wrap=True)

    return advance


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f} "
