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
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from radii.graph.operator import Operator, Shape

FORMAT = 1  # of the canonical form; another one means other digests


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

    @cached_property
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
