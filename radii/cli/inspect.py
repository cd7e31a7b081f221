"""`radii inspect`: what is in a network, which methods can certify it, and what stands in the way."""

from pathlib import Path
from typing import Any

from rich.table import Table

from radii.cli import network
from radii.cli.console import out, plain, print_json, table_of

Json = dict[str, Any]


def command(file: Path, external_data: list[Path], *, as_json: bool, **options: Any) -> None:
    """Print the network, or, with exit code 1, every obstacle between it and a certificate.

    ``options``: as :func:`radii.cli.network.read`.
    """
    with network.obstacles_told(file, verdict="supported", as_json=as_json):
        from radii.graph import methods

        graph = network.read(file, external_data, **options)
        found = {"supported": True, **graph.summary(), "methods": methods(graph)}
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
    facts.add_row("classes", f"{found['num_classes']:,}")
    facts.add_row("parameters", f"{found['parameters']:,}")
    facts.add_row("flops a sample", f"{found['flops']:,}  (multiplications and additions of the layers with weights)")
    facts.add_row("memory a sample", f"{found['activation_bytes']:,} bytes at once, in float32")
    facts.add_row("digest", found["digest"])
    for method in found["methods"]:
        facts.add_row(method["kind"], "[green]applies[/]" if method["applies"] else "[red]does not apply[/]: see below")
    out.print(facts)
    for method in found["methods"]:
        if method["reasons"]:
            out.print(f"\n [bold]What stands against {method['kind']}, and what would lift it[/]")
            out.print(table_of(method["reasons"]))


def _shape(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))
