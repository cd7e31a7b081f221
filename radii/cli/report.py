"""What a certification found, for people: the table of figures, the results, the file."""

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table

from radii.cli.console import out, plain
from radii.cli.plot import certified_accuracy, largest_radius, ticks
from radii.client import Client
from radii.methods import kind_of
from radii.methods.lines import DECIMALS, above, down, text

Json = dict[str, Any]

LISTED = 10  # inputs that failed
HALF_STEP = 0.5 / 255  # of an 8-bit pixel
VACUOUS = (
    "vacuous: even a margin of 16 logits certifies less than half a step of an 8-bit pixel. "
    "Use smoothing (radii certify --sigma), or train for a small bound (docs/lipschitz.md)."
)


def save_results(client: Client, job_id: str, file: Path) -> None:
    """Write the results to ``file``, one line of JSON an input; the file is whole, or not there."""
    draft = file.with_name(f".{file.name}.part")
    try:
        with draft.open("w") as stream:
            for row in client.results(job_id):
                stream.write(json.dumps(row) + "\n")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def print_report(client: Client, job: Json) -> None:
    """The figures of a certification that has ended."""
    found, method = job["summary"], kind_of(job["method"])
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_row("method", in_words(job["method"]))
    decisions = found.get("decisions")
    abstained = f", {found['abstained']} abstained" if found["abstained"] and not decisions else ""
    table.add_row("inputs", f"{found['inputs']}{abstained}")
    if failed := found.get("failed"):  # unknown to earlier versions
        table.add_row("[yellow]failed[/]", failed_in_words(failed, found["failed_indices"]))
    if decisions:
        asked = f"radius {job['method']['target_radius']:g} ({job['method']['norm']})"
        answers = ("certified", "not certified", "undecided")  # JSON of a database comes back in an order of its own
        table.add_row(asked, ", ".join(f"{decisions[answer]} {answer}" for answer in answers))
    if found["accuracy"] is not None and not decisions:
        words = f"of {method.answers_for}; abstaining is not right"
        table.add_row("accuracy", f"{percent(found['accuracy'])}  ({words})")
    if found["clean_accuracy"] is not None:
        table.add_row("clean accuracy", f"{percent(found['clean_accuracy'])}  (of the network itself, without noise)")
    if bound := found.get("bound"):
        table.add_row("bound", f"{above(bound['upper'])}  ({bound['norm']}, by the rule: {plain(bound['rule'])})")
        if bound["vacuous"] and (found["median_radius"] or 0.0) < HALF_STEP:  # logits may be large as well
            table.add_row("[yellow]beware[/]", VACUOUS)
    if local := found.get("local"):
        bound = local["lipschitz"]
        table.add_row("Lipschitz bound", "none: all radii are local" if bound is None else f"{above(bound)}  (l2)")
        if ends := local["valid_range"]:
            table.add_row("claim", f"of inputs from {ends[0]:.9g} to {ends[1]:.9g} alone (box)")
    curve = client.curve(job["id"]) if method.no_curve is None else None
    if curve and found["median_radius"] is not None:
        radius = down(found["median_radius"], DECIMALS.get(curve["norm"], 4))
        table.add_row("median radius", f"{radius}  ({curve['norm']})")
    if checked := found.get("cross_check"):
        table.add_row("cross-check", cross_check_in_words(checked))
    if (took := seconds(job)) is not None:
        table.add_row("time", f"{took:.1f} s")
    out.print(table)
    if curve:
        _print_curve(curve)


def _print_curve(curve: Json) -> None:
    known = curve["known_up_to"]
    marks = ticks(largest_radius({"": curve}), 6) if known is None else [known]
    shares = [certified_accuracy(curve, mark) for mark in marks]
    accuracies = Table(
        f"{curve['norm']} radius", *(f"{mark:g}" for mark in marks), box=None, header_style="bold", padding=(0, 1)
    )
    what = "certified accuracy" if curve["labelled"] else "certified share"
    accuracies.add_row(what, *(percent(share) for share in shares if share is not None))
    out.print(accuracies)


def cross_check_in_words(found: Json) -> str:
    """How the attacks on certified inputs went."""
    words = f"{found['attacked']} certified inputs attacked, {found['contradicted'] or 'none'} contradicted"
    if found["contradicted"]:
        words += f" (by chance: {above(found['probability'])})"
    if found["not_checked"]:
        words += f"; not checked: {plain('; '.join(found['not_checked']))}"
    return words


def failed_in_words(count: int, indices: list[int]) -> str:
    """The inputs that failed, each for itself."""
    listed = ", ".join(map(str, indices[:LISTED])) + (", ..." if count > LISTED else "")
    return f"{count}: {listed}  (they count as not certified; why: `problem` in the results)"


def print_results(rows: Iterable[Json]) -> None:
    """A table of results, as their method shows them: most a line an input."""
    rows = iter(rows)
    first = next(rows, {})
    method = kind_of(first)
    table = Table(*method.headings, header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for row in chain([first], rows) if first else ():
        wrong = row["label"] is not None and row["prediction"] is not None and row["label"] != row["prediction"]
        if row.get("failed"):
            cells = [text(row["index"]), text(row["label"]), "-", "failed"]
            table.add_row(*map(plain, [*cells, *[""] * len(method.headings)][: len(method.headings)]), style="red")
            continue
        for line in method.lines(row):
            table.add_row(*map(plain, line.cells), style="red" if wrong else None if line.says else "dim")
    out.print(table)


def in_words(method: Json) -> str:
    """A method and its parameters on one line."""
    usual = {
        "noise": "gaussian",
        "scores": "hard",
        "mode": "radius",
        "grid": "auto",
        "precision": "float32",
        "target_radius": None,
        "family_wise": False,
        "effort": "default",
        "box": False,
    }
    plainly = {"kind": method["kind"], "cross_check": None, **usual}
    parameters = {key: value for key, value in method.items() if value != plainly.get(key, ...)}
    return " ".join([method["kind"], *(f"{key} {_number(value)}" for key, value in parameters.items())])


def in_brief(method: Json) -> str:
    """A method and those of its parameters that are not the usual ones."""
    fields = kind_of(method).model_fields
    ordered = [*(name for name in fields if name in method), *(name for name in method if name not in fields)]
    told = [name for name in ordered if name not in fields or method[name] != fields[name].default]
    return " ".join([method["kind"], *(f"{name} {_number(method[name])}" for name in told if name != "kind")])


def percent(share: float) -> str:
    """A share in print, rounded toward zero."""
    return f"{(Decimal(repr(share)) * 100).quantize(Decimal('0.1'), ROUND_DOWN)}%"


def seconds(job: Json) -> float | None:
    """How long a certification was at work."""
    if not job.get("started_at") or not job.get("finished_at"):
        return None
    return (datetime.fromisoformat(job["finished_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else plain(str(value))
