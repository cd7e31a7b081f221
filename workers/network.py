"""What an order says of a model, as a graph: the same for intake and for the certifying workers."""

from pathlib import Path
from typing import Any

from radii.architectures import parse_architecture
from radii.graph import Graph, read_network

Json = dict[str, Any]


def read_graph(order: Json) -> Graph:
    """The network of the order's files, before normalisation. Raises ``UnsupportedModel``."""
    settings = order["settings"]
    architecture = settings.get("architecture")
    return read_network(
        Path(order["file"]).read_bytes(),
        external_data=external_data(order),
        output=settings["output"],
        architecture=architecture and parse_architecture(architecture),
        input_shape=tuple(settings["input"]["shape"]),
        task=settings.get("task", "classifier"),
    )


def external_data(order: Json) -> dict[str, bytes]:
    """The files beside the model's, by the names that it calls them."""
    return {name: Path(file).read_bytes() for name, file in order["external_data"].items()}
