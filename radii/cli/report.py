"""What a certification found, for people: the table of figures, the results, the file."""

import json
from collections.abc import Iterable
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Context, Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table

from radii.cli.console import out, plain
from radii.cli.plot import certified_accuracy, largest_radius, ticks
from radii.client import Client

Json = dict[str, Any]

NO_CURVE = ("prediction", "median")  # kinds of methods
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
    found = job["summary"]
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_row("method", in_words(job["method"]))
    decisions = found.get("decisions")
    abstained = f", {found['abstained']} abstained" if found["abstained"] and not decisions else ""
    table.add_row("inputs", f"{found['inputs']}{abstained}")
    if decisions:
        asked = f"radius {job['method']['target_radius']:g} ({job['method']['norm']})"
        answers = ("certified", "not certified", "undecided")  # JSON of a database comes back in an order of its own
        table.add_row(asked, ", ".join(f"{decisions[answer]} {answer}" for answer in answers))
    if found["accuracy"] is not None and not decisions:
        whose = "of the network" if job["method"]["kind"] == "lipschitz" else "of the smoothed classifier"
        table.add_row("accuracy", f"{percent(found['accuracy'])}  ({whose}; abstaining is not right)")
    if found["clean_accuracy"] is not None:
        table.add_row("clean accuracy", f"{percent(found['clean_accuracy'])}  (of the network itself, without noise)")
    if bound := found.get("bound"):
        table.add_row("bound", f"{above(bound['upper'])}  ({bound['norm']}, by the rule: {plain(bound['rule'])})")
        if bound["vacuous"] and (found["median_radius"] or 0.0) < HALF_STEP:  # logits may be large as well
            table.add_row("[yellow]beware[/]", VACUOUS)
    curve = None if job["method"]["kind"] in NO_CURVE else client.curve(job["id"])
    if curve and found["median_radius"] is not None:
        table.add_row("median radius", f"{down(found['median_radius'], decimals(curve['norm']))}  ({curve['norm']})")
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


def print_results(rows: Iterable[Json]) -> None:
    """A row an input: index, label, prediction, radius; of predictions the p-value. Of medians a row an output."""
    rows = iter(rows)
    first = next(rows, None)
    if first and "lower" in first:
        _print_medians(chain([first], rows))
        return
    last = "p-value" if first and "p_value" in first else "radius"
    table = Table("index", "label", "prediction", last, header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for row in [] if first is None else chain([first], rows):
        wrong = row["label"] is not None and row["prediction"] is not None and row["label"] != row["prediction"]
        cells = (_text(row["index"]), _text(row["label"]), *_answer(row))
        table.add_row(*cells, style="red" if wrong else "dim" if row["abstained"] else None)
    out.print(table)


def _print_medians(rows: Iterable[Json]) -> None:
    table = Table("index", "output", "median", "at least", "at most", header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for row in rows:
        for output, (median, lower, upper) in enumerate(zip(row["median"], row["lower"], row["upper"], strict=True)):
            cells = ("-" if median is None else f"{median:.7g}", _end(lower, ROUND_FLOOR), _end(upper, ROUND_CEILING))
            table.add_row(str(row["index"]), str(output), *cells, style="dim" if None in (lower, upper) else None)
    out.print(table)


def _end(bound: float | None, rounding: str) -> str:
    return "-" if bound is None else _digits(bound, rounding)


def _answer(row: Json) -> tuple[str, str]:
    if "p_value" in row:
        return "abstained" if row["abstained"] else _text(row["prediction"]), _digits(row["p_value"], ROUND_CEILING, 2)
    if not row["abstained"]:
        return _text(row["prediction"]), down(row["radius"], decimals(row["norm"]))
    pilot_class = row.get("pilot_class")
    return "-", (row.get("decision") or "abstained") + ("" if pilot_class is None else f" (pilot: {pilot_class})")


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
    }
    plainly = {"kind": method["kind"], "cross_check": None, **usual}
    parameters = {key: value for key, value in method.items() if value != plainly.get(key, ...)}
    return " ".join([method["kind"], *(f"{key} {_number(value)}" for key, value in parameters.items())])


def down(number: float, decimals: int) -> str:
    """A certified figure in print: rounded toward zero, so that print never says more than was certified."""
    if number >= 2**53 / 10**decimals:  # floats lie further apart than these decimals
        return below(number)
    return str(Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN))


def above(number: float) -> str:
    """An upper bound in print: seven digits, rounded up."""
    return _digits(number, ROUND_CEILING)


def below(number: float) -> str:
    """A lower bound in print: seven digits, rounded down."""
    return _digits(number, ROUND_FLOOR)


def _digits(number: float, rounding: str, digits: int = 7) -> str:
    return f"{float(Context(prec=digits, rounding=rounding).create_decimal(Decimal(repr(number)))):.{digits}g}"


def decimals(norm: str) -> int:
    """How many a radius has in print: one of linf is small, divided by the square root of the input's size."""
    return 6 if norm == "linf" else 4


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


def _text(value: Any) -> str:
    return "-" if value is None else plain(str(value))
