"""What an order says of a model, as a graph: the same for intake and for the certifying workers."""

from pathlib import Path

from radii.architectures import parse_architecture
from radii.graph import Graph, read_network
from workers.messages import NetworkFiles


def read_graph(network: NetworkFiles) -> Graph:
    """The network of those files, before normalisation. Raises ``UnsupportedModel``."""
    settings = network.settings
    architecture = settings.get("architecture")
    return read_network(
        Path(network.file).read_bytes(),
        external_data=external_data(network),
        output=settings["output"],
        architecture=architecture and parse_architecture(architecture),
        input_shape=tuple(settings["input"]["shape"]),
        task=settings.get("task", "classifier"),
    )


def external_data(network: NetworkFiles) -> dict[str, bytes]:
    """The files beside the model's, by the names that it calls them."""
    return {name: Path(file).read_bytes() for name, file in network.external_data.items()}
