"""`radii lipschitz`: how much a network can amplify a change of its input, and which layers make it so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from radii.cli import network
from radii.cli.certify import checked
from radii.cli.console import err, fail, out, plain, print_json
from radii.cli.report import VACUOUS
from radii.methods.lines import above, below

Json = dict[str, Any]


def command(
    file: Path,
    external_data: list[Path],
    question: Json,
    *,
    mean: list[float],
    std: list[float],
    as_json: bool,
    **options: Any,
) -> None:
    """Print the bound of the network and of every layer, or, with exit code 1, every obstacle.

    ``question``: the method; ``options``: as :func:`radii.cli.network.read`.
    """
    asked = checked(question).model_dump(include={"bound", "rtol", "budget"})
    with network.obstacles_told(file, verdict="bounded", as_json=as_json):
        from radii.graph import normalized
        from radii.lipschitz import network_bound

        graph = network.read(file, external_data, **options)
        try:
            graph = normalized(graph, *(_one_or_all(value) for value in (mean, std)))
        except ValueError as error:
            fail(str(error), code=2)
        with err.status("bounding") as status:  # which only a terminal shows

            def show(doing: str) -> None:
                status.update(f"bounding {plain(doing)}")

            found = network_bound(graph, **asked, progress=show).to_json()
    print_json({"bounded": True, "digest": graph.digest, **found}) if as_json else _print(found)


def _one_or_all(values: list[float]) -> float | list[float]:
    return values[0] if len(values) == 1 else values


def _print(found: Json) -> None:
    out.print(_table(found["layers"], out.width))
    facts = Table(box=None, show_header=False, padding=(0, 1))
    facts.add_column()
    facts.add_column(overflow="fold")
    facts.add_row("bound", f"[bold]{above(found['upper'])}[/]  ({found['norm']}, by the rule: {plain(found['rule'])})")
    if pairs := found["pairwise"]:
        facts.add_row("pairs of logits", f"{above(pairs['min'])} to {above(pairs['max'])}")
        if pairs["max"] > 0:
            facts.add_row("a margin of 1", f"certifies a radius of {below(1 / pairs['max'])} or more")
    if found["left_out"]:
        names = ", ".join(f"{plain(node['operator'])} (node {node['index']})" for node in found["left_out"])
        facts.add_row("left out", f"{names}: keeps the order of the classes; the bound is of the logits before it")
    for note in found.get("notes", ()):
        facts.add_row("note", plain(note))
    if found["vacuous"]:
        facts.add_row("[yellow]beware[/]", VACUOUS)
    facts.add_row("seconds", f"{found['seconds']:.2f}")
    out.print(facts)


COLUMNS: dict[str, Callable[[Json], str]] = {
    "node": lambda layer: "-" if layer["index"] < 0 else str(layer["index"]),
    "operator": lambda layer: plain(layer["operator"]),
    "weight": lambda layer: _sizes(layer["shape"]),
    "padding": lambda layer: _padding(layer["padding"]),
    "torus": lambda layer: _sizes(layer["torus"]),
    "rule": lambda layer: plain(layer["rule"]),
    "method": lambda layer: f"{layer['method']}, {layer['iterations']}" if layer["iterations"] else layer["method"],
    "lower": lambda layer: below(layer["lower"]) if layer["lower"] else "",
    "upper": lambda layer: above(layer["upper"]),
    "share": lambda layer: f"{layer['share']:.0%}" if layer["share"] else "",
    "slack": lambda layer: f"{layer['slack']:.0e}" if layer["slack"] else "",
    "seconds": lambda layer: f"{layer['seconds']:.2f}" if layer["seconds"] >= 0.005 else "",
    "name": lambda layer: plain(layer["label"]),
}
FIRST_TO_GO = ("name", "slack", "seconds", "rule", "torus", "padding", "method")  # in a narrow terminal; --json has all


def _table(layers: list[Json], width: int) -> Table:
    """The columns that say anything, as many as fit."""
    rows = {name: [cell(layer) for layer in layers] for name, cell in COLUMNS.items()}
    columns = {name: cells for name, cells in rows.items() if any(cells)}
    wide = {name: max(map(len, (name, *cells))) + 3 for name, cells in columns.items()}
    for name in FIRST_TO_GO:
        if 1 + sum(wide[column] for column in columns) > width:
            columns.pop(name, None)
    table = Table(*columns, header_style="bold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _sizes(sizes: list[int] | None) -> str:
    return "" if sizes is None else "x".join(map(str, sizes))


def _padding(pairs: list[list[int]] | None) -> str:
    """``1`` for one all around, ``1,2`` for one number an axis, ``0:1,0:1`` for what differs before and after."""
    if not pairs or not any(map(any, pairs)):
        return ""
    axes = [str(before) if before == after else f"{before}:{after}" for before, after in pairs]
    return axes[0] if len(set(axes)) == 1 and ":" not in axes[0] else ",".join(axes)
