"""One door for every kind of file that a network comes in."""

from collections.abc import Mapping

from radii.architectures import Architecture
from radii.graph.architectures import from_weights
from radii.graph.canonical import WEIGHTS, from_canonical
from radii.graph.composition import Task
from radii.graph.errors import Obstacle, UnsupportedModel
from radii.graph.ir import Graph
from radii.graph.operator import Shape
from radii.graph.reader import read_onnx


def is_canonical(data: bytes) -> bool:
    """Whether a file is a ``graph.json``: no ONNX file begins like that."""
    return data[:64].lstrip().startswith(b"{")


def read_network(
    data: bytes,
    *,
    external_data: Mapping[str, bytes] | None = None,
    output: str | None = None,
    architecture: Architecture | None = None,
    input_shape: Shape | None = None,
    task: Task = "classifier",
) -> Graph:
    """The graph of an ONNX file, of a ``graph.json`` with its weights in ``external_data``, or, with an
    ``architecture`` and an ``input_shape``, of a safetensors file; the last two hold classifiers. An ONNX file needs an
    ``input_shape`` where it leaves that open, or has no batch axis. Raises `UnsupportedModel`.
    """
    external_data = external_data or {}
    if task != "classifier" and (architecture is not None or is_canonical(data)):
        raise UnsupportedModel([Obstacle(None, "", f"a {task} is taken as ONNX alone", "Export it to ONNX")])
    if architecture is not None:
        if input_shape is None:
            raise ValueError("weights alone do not say the shape of the input: give input_shape")
        _no_more(external_data, output)
        return from_weights(architecture, data, input_shape)
    if is_canonical(data):
        _no_more({name: b"" for name in external_data if name != WEIGHTS}, output)
        if WEIGHTS not in external_data:
            words = f"the weights lie in {WEIGHTS}, which is not here"
            raise UnsupportedModel([Obstacle(None, "", words, f"Give that file too, as external data {WEIGHTS!r}")])
        return from_canonical(data, external_data[WEIGHTS])
    return read_onnx(data, external_data=external_data, output=output, input_shape=input_shape, task=task)


def _no_more(external_data: Mapping[str, bytes], output: str | None) -> None:
    if external_data or output is not None:
        words = "an output or external data are named, which this kind of file does not have"
        raise UnsupportedModel([Obstacle(None, "", words, "Leave them out")])
