"""The network in a file, read on this machine: what `radii inspect` and `radii lipschitz` share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from radii.architectures import parse_architecture
from radii.cli.console import err, fail, plain, print_json, table_of
from radii.cli.late import import_late
from radii.files import external_data as beside

if TYPE_CHECKING:
    from radii.graph import Graph, Task

Json = dict[str, Any]


def read(
    file: Path,
    external_data: list[Path],
    *,
    output: str | None,
    architecture: Json | None,
    shape: list[int] | None,
    task: "Task" = "classifier",
) -> "Graph":
    """The network, its weights from ``external_data`` and beside the file. Raises ``UnsupportedModel``.

    Ends with exit code 2 if the command line does not say enough.
    """
    from radii.graph import Obstacle, UnsupportedModel, read_network

    if architecture and not shape:
        fail("weights alone do not say the shape of the input: give --shape", code=2)
    graph = read_network(
        file.read_bytes(),
        external_data={path.name: path.read_bytes() for path in (*beside(file), *external_data)},
        output=output,
        architecture=parse_architecture(architecture) if architecture else None,
        input_shape=tuple(shape) if shape else None,
        task=task,
    )
    if shape and tuple(shape) != graph.input_shape:
        words = f"the model takes inputs of shape {list(graph.input_shape)}, declared was {shape}"
        raise UnsupportedModel([Obstacle(None, "", words, "Leave --shape out: the file says it")])
    return graph


@contextmanager
def obstacles_told(file: Path, *, verdict: str, as_json: bool) -> Iterator[None]:
    """End with exit code 1 and every obstacle, if there is one; as JSON, ``verdict`` is false. torch must be there."""
    import_late("torch")  # of which most networks need nothing to be read, and many nothing to be bounded
    try:
        from radii.graph import Obstructed
    except ImportError as error:
        fail(f"reading a network needs {error.name}: pip install 'radii[torch]'")
    try:
        yield
    except Obstructed as error:
        obstacles = [asdict(obstacle) for obstacle in error.obstacles]
        if as_json:
            print_json({verdict: False, "obstacles": obstacles})
        else:
            err.print(f"[bold red]{plain(file.name)} {error.words}[/]", soft_wrap=True)
            err.print(table_of(obstacles))
        raise typer.Exit(1) from None
