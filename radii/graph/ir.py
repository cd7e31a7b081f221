"""The graph: what a file becomes, and all that the rest of the house sees of it.

Everything is immutable: nodes are frozen, arrays are read-only. Names in the file never become identifiers;
they are kept as labels for people. Axis 0 of every activation is the batch, no operator mixes it, and all the
shapes here are per sample, without it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from radii.graph.call import Call
from radii.graph.rules import Rule

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]

FORMAT = 1  # of the canonical form; another one means other digests


@dataclass(frozen=True, eq=False)
class Operator:
    """One ONNX operator: how it is read, run, what shape it makes, and its Lipschitz rule.

    A subclass is named like its ONNX operator and is a frozen dataclass; its array fields are its
    constants, the others its attributes (JSON values). It sees its activation inputs only, in the file's order.
    """

    attributes: ClassVar[Mapping[str, str]] = {}  # the ONNX attributes known: name -> kind (see `Call`)
    most_inputs: ClassVar[int] = 1  # the inputs its node may have, constants included
    many_outputs: ClassVar[bool] = False  # whether others than the first may be read, each as an operator of its own
    is_node: ClassVar[bool] = True  # False: it never stands in a graph, since it is always read as another operator
    lifts_constants: ClassVar[bool] = False  # whether constants among its inputs become activations
    activations: ClassVar[tuple[int, int]] = (1, 1)  # the fewest and the most that it reads
    array_kinds: ClassVar[Mapping[str, str]] = {}  # of constants that are no floats: field name -> f, i or b
    behaviour: ClassVar[str]  # its Lipschitz constant, in words

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.flags.writeable = False

    @property
    def name(self) -> str:
        """The operator's name in ONNX."""
        return type(self).__name__

    @classmethod
    def read(cls, call: Call) -> Operator:
        """What one node of a file does. Raises `Refusal` for what it can't honour exactly."""
        raise NotImplementedError

    def check(self, *inputs: Shape) -> None:
        """Raises `Refusal` unless the fields are such that all below holds for inputs of these shapes.

        A node may come from a stranger's graph.json (docs/graph-format.md), so nothing is known of the fields but
        their types, that numbers are finite and arrays not empty. What the shapes' own arithmetic raises need not be
        foreseen: see `radii.graph.admission`. Must neither allocate nor loop in proportion to a size that is given.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule of admission")

    def scratch(self, *inputs: Shape) -> int:
        """The most entries a sample that `run` holds at once beside its inputs and its output, where that is much."""
        return 0

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        """The output for inputs of shape (batch, *shape); ``arrays`` are `arrays` as tensors.

        It looks at no array of its own: where that lies in bytes that nobody may change, torch.compile can't trace it.
        """
        raise NotImplementedError

    def shape(self, *inputs: Shape) -> Shape:
        """The output's shape a sample. Raises `Refusal` where the inputs' shapes do not fit."""
        raise NotImplementedError

    def lipschitz(self, *inputs: Shape) -> Rule:
        """The Lipschitz rule, given the shapes of the inputs a sample."""
        raise NotImplementedError

    def multiply_adds(self, *inputs: Shape) -> int:
        """Multiply-adds a sample; elementwise work is not counted."""
        return 0

    def arrays(self) -> dict[str, np.ndarray]:
        """The constants, read-only, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, np.ndarray)}

    def rescaled(self, scale: np.ndarray, offset: np.ndarray, output: Shape) -> Operator | None:
        """This operator followed by ``scale * y + offset`` on axis 1 of its output, or None: it can't absorb that."""
        return None

    def settings(self) -> dict[str, Any]:
        """The attributes as JSON values, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {
            name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            for name, value in values
            if not isinstance(value, np.ndarray)
        }


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operator at its place in the graph."""

    operator: Operator
    inputs: tuple[str, ...]  # ids of activations
    output: str
    index: int  # position in the file; -1: put there by `normalized`
    label: str = ""  # the node's name in the file; data for people


@dataclass(frozen=True, eq=False)
class Graph:
    """A checked classifier: one input, one output of ``num_classes`` logits, nodes in the order they run."""

    input: str
    input_shape: Shape
    output: str
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]  # of every activation, the input's and the output's included

    @classmethod
    def build(cls, input: str, input_shape: Shape, output: str, nodes: Sequence[Node]) -> Graph:  # noqa: A002
        """A graph from nodes in running order, with fresh ids and the shapes inferred."""
        ids, shapes, numbered = {input: "0"}, {"0": input_shape}, []
        for i, node in enumerate(nodes, start=1):
            inputs = tuple(ids[name] for name in node.inputs)
            ids[node.output] = str(i)
            shapes[str(i)] = node.operator.shape(*(shapes[name] for name in inputs))
            numbered.append(Node(node.operator, inputs, str(i), node.index, node.label))
        return cls("0", input_shape, ids[output], tuple(numbered), MappingProxyType(shapes))

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self  # immutable: its own copy, so that a module which holds it can be copied

    @property
    def num_classes(self) -> int:
        return self.shapes[self.output][0]

    @property
    def digest(self) -> str:
        """SHA-256 of `canonical`: operators, attributes, constants and wiring, whatever the exporter calls things."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The bytes of ``graph.json`` (docs/graph-format.md): all but the arrays, which it has by hash."""
        ordered = self.ordered()
        position = {self.input: 0} | {node.output: i for i, node in enumerate(ordered, start=1)}
        form = {
            "format": FORMAT,
            "input_shape": self.input_shape,
            "output": position[self.output],
            "nodes": [
                {
                    "operator": type(node.operator).__name__,
                    "attributes": node.operator.settings(),
                    "arrays": {name: array_digest(array) for name, array in node.operator.arrays().items()},
                    "inputs": [position[name] for name in node.inputs],
                }
                for node in ordered
            ],
        }
        return json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def ordered(self) -> list[Node]:
        """The nodes that the output needs, each behind its inputs, in an order that the wiring alone decides."""
        maker = {node.output: node for node in self.nodes}
        ordered: dict[str, Node] = {}
        todo = [(self.output, False)]
        while todo:
            name, ready = todo.pop()
            if name in ordered or name not in maker:
                continue
            if ready:
                ordered[name] = maker[name]
            else:
                todo.append((name, True))
                todo.extend((source, False) for source in reversed(maker[name].inputs))
        return list(ordered.values())

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """The shapes a sample of ``node``'s inputs."""
        return tuple(self.shapes[name] for name in node.inputs)

    def last_uses(self) -> tuple[tuple[str, ...], ...]:
        """For each node, the activations that nothing after it reads."""
        last = {name: i for i, node in enumerate(self.nodes) for name in node.inputs}
        last.pop(self.output, None)
        done: list[list[str]] = [[] for _ in self.nodes]
        for name, i in last.items():
            done[i].append(name)
        return tuple(tuple(names) for names in done)

    def peak_elements(self) -> int:
        """The most activation elements a sample that are alive at once."""
        size = {name: int(np.prod(shape, dtype=object)) for name, shape in self.shapes.items()}
        alive = peak = size[self.input]
        for node, done in zip(self.nodes, self.last_uses(), strict=True):
            alive += size[node.output]
            peak = max(peak, alive)
            alive -= sum(size[name] for name in done)
        return peak

    def summary(self) -> dict[str, Any]:
        """What a person wants to know at a glance: JSON values."""
        layers: list[dict[str, Any]] = [
            {
                "node": node.index,
                "label": node.label,
                "operator": node.operator.name,
                "shape": list(self.shapes[node.output]),
                "parameters": _parameters(node.operator),
                "multiply_adds": node.operator.multiply_adds(*self.input_shapes(node)),
            }
            for node in self.nodes
        ]
        return {
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "digest": self.digest,
            "parameters": sum(_parameters(node.operator) for node in self.nodes),
            "multiply_adds": (multiply_adds := sum(layer["multiply_adds"] for layer in layers)),
            "flops": 2 * multiply_adds,
            "activation_bytes": 4 * self.peak_elements(),
            "operators": dict(sorted(Counter(node.operator.name for node in self.nodes).items())),
            "layers": layers,
        }


def _parameters(operator: Operator) -> int:
    return sum(array.size for array in operator.arrays().values() if array.dtype.kind == "f")


def array_digest(array: np.ndarray) -> list[Any]:
    """What ``graph.json`` says of an array: type, shape, SHA-256 of its entries (little-endian, C order)."""
    return [array.dtype.str.lstrip("<=|"), list(array.shape), hashlib.sha256(little_endian(array)).hexdigest()]


def little_endian(array: np.ndarray) -> bytes:
    """The entries in C order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
