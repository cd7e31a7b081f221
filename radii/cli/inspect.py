"""`radii inspect`: what is in a network, which methods can certify it, and what stands in the way."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from radii.cli import network
from radii.cli.console import out, plain, print_json, table_of

if TYPE_CHECKING:
    from radii.graph import Task

Json = dict[str, Any]
SIZES = {"classifier": "classes", "binary": "classes", "regressor": "outputs"}  # of a network, by its task


def command(file: Path, external_data: list[Path], *, task: "Task", as_json: bool, **options: Any) -> None:
    """Print the network, or, with exit code 1, every obstacle between it and a certificate.

    ``options``: as :func:`radii.cli.network.read`.
    """
    with network.obstacles_told(file, verdict="supported", as_json=as_json):
        from radii.graph import methods
        from radii.graph.applicability import plainly_local

        graph = network.read(file, external_data, task=task, **options)
        found = {"supported": True, "task": task, **graph.summary()}
        local = plainly_local(graph, task)
        if local is None:
            from radii.local import verdict  # torch, seconds

            local = verdict(graph, task)
        found["methods"] = [*methods(graph, task), local]
        size = found.pop("num_classes")
        found |= {f"num_{noun}": size if noun == SIZES.get(task) else None for noun in SIZES.values()}
    print_json(found) if as_json else _print(found)


def _print(found: Json) -> None:
    layers = Table("node", "operator", "output", "parameters", "multiply-adds", "name", header_style="bold")
    for layer in found["layers"]:
        layers.add_row(
            "-" if layer["node"] < 0 else str(layer["node"]),
            layer["operator"],
            _shape(layer["shape"]),
            f"{layer['parameters']:,}" if layer["parameters"] else "",
            f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
            plain(layer["label"]),
        )
    out.print(layers)
    facts = Table(box=None, show_header=False, padding=(0, 1))
    facts.add_column()
    facts.add_column(overflow="fold")
    facts.add_row("input", _shape(found["input_shape"]))
    if noun := SIZES.get(found["task"]):
        facts.add_row(noun, f"{found[f'num_{noun}']:,}")
    facts.add_row("parameters", f"{found['parameters']:,}")
    facts.add_row("flops a sample", f"{found['flops']:,}  (multiplications and additions of the layers with weights)")
    facts.add_row("memory a sample", f"{found['activation_bytes']:,} bytes at once, in float32")
    facts.add_row("digest", found["digest"])
    for method in found["methods"]:
        facts.add_row(method["kind"], _verdict(method))
    out.print(facts)
    for method in found["methods"]:
        if _at_nodes(method):
            out.print(f"\n [bold]What stands against {method['kind']}, and what would lift it[/]")
            out.print(table_of(method["reasons"]))


def _verdict(method: Json) -> str:
    if method["applies"]:
        return "[green]applies[/]"
    words = [f"{reason['reason']}. {reason['remedy']}" for reason in method["reasons"]]
    return f"[red]does not apply[/]: {'see below' if _at_nodes(method) else plain('; '.join(words))}"


def _at_nodes(method: Json) -> bool:
    """Whether nodes stand against it, of which a table says more than a line."""
    return any(reason["node"] is not None for reason in method["reasons"])


def _shape(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))
