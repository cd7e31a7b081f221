"""`radii inspect`: what is in a network, which methods can certify it, and what stands in the way."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from radii.architectures import parse_architecture
from radii.cli.console import err, fail, out, plain, print_json, table_of
from radii.files import external_data as beside

Json = dict[str, Any]


def command(
    file: Path,
    external_data: list[Path],
    *,
    output: str | None,
    architecture: Json | None,
    shape: list[int] | None,
    as_json: bool,
) -> None:
    """Print the network, or, with exit code 1, every obstacle between it and a certificate."""
    if architecture and not shape:
        fail("weights alone do not say the shape of the input: give --shape", code=2)
    try:
        found = _read(file, external_data, output=output, architecture=architecture, shape=shape)
    except ImportError as error:
        fail(f"inspecting needs {error.name}: pip install 'radii[torch]'")
    if as_json:
        print_json(found)
    elif found["supported"]:
        _print(found)
    else:
        err.print(f"[bold red]{plain(file.name)} can't be certified[/]", soft_wrap=True)
        err.print(table_of(found["obstacles"]))
    if not found["supported"]:
        raise typer.Exit(1)


def _read(
    file: Path, external_data: list[Path], *, output: str | None, architecture: Json | None, shape: list[int] | None
) -> Json:
    from radii.graph import UnsupportedModel, methods, read_network

    try:
        graph = read_network(
            file.read_bytes(),
            external_data={path.name: path.read_bytes() for path in (*beside(file), *external_data)},
            output=output,
            architecture=parse_architecture(architecture) if architecture else None,
            input_shape=tuple(shape) if shape else None,
        )
    except UnsupportedModel as unsupported:
        return {"supported": False, "obstacles": [asdict(obstacle) for obstacle in unsupported.obstacles]}
    return {"supported": True, **graph.summary(), "methods": methods(graph)}


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
