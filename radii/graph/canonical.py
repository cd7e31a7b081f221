"""The canonical form: a graph as ``graph.json`` and ``weights.safetensors`` (docs/graph-format.md).

    form, weights = to_canonical(graph)
    assert from_canonical(form, weights).digest == graph.digest == sha256(form).hexdigest()

The form names our own operators with their fields. A file in it comes from anybody, so every field is decoded by the
type that the operator declares for it, and then admitted by `radii.graph.admission`.
"""

import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from math import isfinite, prod
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from radii.graph.admission import admit, admitted
from radii.graph.errors import Obstacle, Refusal, UnsupportedModel
from radii.graph.ir import FORMAT, Graph, Node, array_digest
from radii.graph.limits import DEFAULTS, Limits
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import NODES
from radii.graph.remedies import quoted
from radii.graph.weights import parse_json, read_safetensors, write_safetensors

FORM_BYTES = 2**24
WEIGHTS = "weights.safetensors"  # the file beside graph.json
REWRITE = "Write the two files with radii.graph.to_canonical, and change neither"


def to_canonical(graph: Graph) -> tuple[bytes, bytes]:
    """``graph.json``, whose SHA-256 is the graph's digest, and ``weights.safetensors``."""
    arrays = {
        f"{i}.{name}": array
        for i, node in enumerate(graph.ordered(), start=1)
        for name, array in node.operator.arrays().items()
    }
    return graph.canonical(), write_safetensors(arrays)


def from_canonical(form: bytes, weights: bytes, *, limits: Limits = DEFAULTS) -> Graph:
    """The graph of a canonical form. Raises `UnsupportedModel` with everything that stands in the way."""
    try:
        document = _document(form, limits)
        tensors = read_safetensors(weights, limits)
    except Refusal as refusal:
        raise UnsupportedModel([Obstacle(None, "", refusal.reason, refusal.remedy)]) from None
    return _Reader(document, tensors, limits).graph()


def _document(form: bytes, limits: Limits) -> dict[str, Any]:
    if len(form) > FORM_BYTES:
        raise Refusal(f"graph.json has {len(form)} bytes, over the limit of {FORM_BYTES}", "Use a smaller model")
    document = parse_json(form, "graph.json", REWRITE)
    if not isinstance(document, dict) or set(document) != {"format", "input_shape", "output", "nodes"}:
        raise Refusal("graph.json must have format, input_shape, output and nodes, and nothing else", REWRITE)
    if document["format"] != FORMAT or isinstance(document["format"], bool):
        raise Refusal(f"the format of graph.json is not {FORMAT}", "Write it with a radii of this version")
    nodes, shape = document["nodes"], document["input_shape"]
    if not isinstance(nodes, list) or len(nodes) > limits.nodes:
        raise Refusal(f"nodes must be a list of at most {limits.nodes}", "Use a smaller model")
    if not (isinstance(shape, list) and 1 <= len(shape) <= 16 and all(type(n) is int and n >= 1 for n in shape)):
        raise Refusal("input_shape must be a list of sizes, the batch left out", REWRITE)
    if prod(shape) > limits.activation_elements:
        raise Refusal(f"a sample has {prod(shape)} entries", "Use a smaller input")
    if not _position(document["output"], len(nodes) + 1):
        raise Refusal("output must be the position of a node (0: the input)", REWRITE)
    return document


def _position(value: Any, stop: int) -> bool:
    return type(value) is int and 0 <= value < stop


class _Reader:
    """One pass over one form. ``shapes`` has the shape a sample of each value; None: refused upstream."""

    def __init__(self, document: dict[str, Any], tensors: dict[str, np.ndarray], limits: Limits) -> None:
        self.document, self.tensors, self.limits = document, tensors, limits
        self.obstacles: list[Obstacle] = []
        self.shapes: list[Shape | None] = [tuple(document["input_shape"])]
        self.nodes: list[Node] = []

    def graph(self) -> Graph:
        for index, entry in enumerate(self.document["nodes"]):
            self.read_node(index, entry)
        if not self.obstacles and self.tensors:
            names = ", ".join(quoted(name) for name in list(self.tensors)[:10])
            self.obstacles.append(Obstacle(None, "", f"the weights hold tensors that no node has: {names}", REWRITE))
        if self.obstacles:
            raise UnsupportedModel(self.obstacles)
        graph = Graph.build("0", tuple(self.document["input_shape"]), str(self.document["output"]), self.nodes)
        if len(graph.ordered()) != len(graph.nodes):
            raise UnsupportedModel([Obstacle(None, "", "the output does not need every node", REWRITE)])
        return admitted(graph, self.limits)

    def read_node(self, index: int, entry: Any) -> None:
        self.shapes.append(None)
        kind = str(entry.get("operator", ""))[:80] if isinstance(entry, dict) else ""
        try:
            operator, inputs = self.decoded(index, entry)
            shapes = [self.shapes[position] for position in inputs]
            known = [shape for shape in shapes if shape is not None]
            if len(known) < len(shapes):
                return  # an obstacle upstream has been reported
            self.shapes[-1] = admit(operator, known, self.limits)
            self.nodes.append(Node(operator, tuple(map(str, inputs)), str(index + 1), index))
        except Refusal as refusal:
            self.obstacles.append(Obstacle(index, ascii(kind)[1:-1], refusal.reason, refusal.remedy))

    def decoded(self, index: int, entry: Any) -> tuple[Operator, list[int]]:
        if not isinstance(entry, dict) or set(entry) != {"operator", "attributes", "arrays", "inputs"}:
            raise Refusal("a node must have operator, attributes, arrays and inputs, and nothing else", REWRITE)
        cls = NODES.get(entry["operator"]) if isinstance(entry["operator"], str) else None
        if cls is None:
            raise Refusal("the operator is not one of the canonical form", "Upload the network as ONNX")
        attributes, listed, inputs = entry["attributes"], entry["arrays"], entry["inputs"]
        if not isinstance(attributes, dict) or not isinstance(listed, dict):
            raise Refusal("attributes and arrays must be objects", REWRITE)
        if not isinstance(inputs, list) or not inputs or not all(_position(at, index + 1) for at in inputs):
            raise Refusal("inputs must be the positions of earlier values", REWRITE)
        arrays = {name: self.array(f"{index + 1}.{name}", digest) for name, digest in listed.items()}
        return decode(cls, attributes, arrays), inputs

    def array(self, name: str, digest: Any) -> np.ndarray:
        array = self.tensors.pop(name, None)
        if array is None:
            raise Refusal(f"the tensor {quoted(name)} is missing in {WEIGHTS}", REWRITE)
        if array_digest(array) != digest:
            raise Refusal(f"the tensor {quoted(name)} is not the one that graph.json was written with", REWRITE)
        return array


def decode(cls: type[Any], attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    """A dataclass from JSON values and arrays, each of the type that its field declares. Raises `Refusal`."""
    hints, values = get_type_hints(cls), {}
    names = {field.name for field in fields(cls)}
    given = {**attributes, **arrays}
    if len(given) != len(attributes) + len(arrays) or set(given) - names:
        raise Refusal("it has a field that is unknown, or there twice", REWRITE)
    for name in names:
        if name not in given:
            raise Refusal(f"its field {name} is missing", REWRITE)
        values[name] = _value(given[name], hints[name], name)
    return cls(**values)


def _value(value: Any, hint: Any, name: str) -> Any:
    for option in _options(hint):
        origin, parts = get_origin(option), get_args(option)
        if option in (int, bool, str) and type(value) is option:
            return value
        if option is float and type(value) in (float, int) and abs(value) < 2.0**1023 and isfinite(value):
            return float(value)
        if (origin or option) is np.ndarray and isinstance(value, np.ndarray):
            return value
        if option is types.NoneType and value is None:
            return None
        if origin is tuple and isinstance(value, list):
            if len(parts) == 2 and parts[1] is Ellipsis:
                return tuple(_value(entry, parts[0], name) for entry in value)
            if len(parts) == len(value):
                return tuple(_value(entry, part, name) for entry, part in zip(value, parts, strict=True))
        if is_dataclass(option) and isinstance(option, type) and isinstance(value, dict):
            return decode(option, value, {})
    raise Refusal(f"its field {name} is not of the type it must have", REWRITE)


def _options(hint: Any) -> Iterator[Any]:
    yield from get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
