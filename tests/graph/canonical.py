"""What the canonical form promises of every network, checked: it comes back, and the names in a file do not count.

And JSON values changed at random.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from radii.graph import Graph, from_canonical, read_onnx, to_canonical, to_module
from tests.graph.schema import conforms

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "graph.schema.json").read_text())

NUMBERS: list[Any] = [-2, -1, 0, 1, 2, 3, 7, 100, 2**10, 2**19, 2**20, 2**40, 10**30, -(2**20)]
VALUES: list[Any] = [*NUMBERS, -0.5, 0.0, 1.5, 1e-320, 1e60, True, False, None, "edge", "tanh", "reflect", [], [1]]


def check_form(graph: Graph, x: Tensor | None = None) -> None:
    """``graph`` goes through the canonical form and comes back: the same digest, the same bits of the logits."""
    form, weights = to_canonical(graph)
    assert hashlib.sha256(form).hexdigest() == graph.digest
    assert conforms(json.loads(form), SCHEMA, SCHEMA)
    again = from_canonical(form, weights)
    assert to_canonical(again) == (form, weights)
    if x is None:
        x = torch.rand(2, *graph.input_shape, generator=torch.Generator().manual_seed(3))
    first, second = (to_module(one, dtype=x.dtype)(x) for one in (graph, again))
    assert torch.equal(first.nan_to_num(), second.nan_to_num())


def check_names(data: bytes, graph: Graph) -> None:
    """The file whose graph is ``graph`` has the same digest when everything in it is called something else."""
    assert read_onnx(renamed(data)).digest == graph.digest


def renamed(data: bytes) -> bytes:
    """A file with every name of a value, a node and the graph replaced."""
    model = onnx.load_model_from_string(data)
    names: dict[str, str] = {"": ""}
    _rename(model.graph, names)
    model.producer_name = model.graph.doc_string = "somebody else"
    renamed: bytes = model.SerializeToString()
    return renamed


def _rename(graph: Any, names: dict[str, str]) -> None:
    graph.name = f"graph {len(names)}"
    for value in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
        value.name = names.setdefault(value.name, f"value {len(names)}")
    for number, node in enumerate(graph.node):
        node.name = f"node {number}"
        for field in (node.input, node.output):
            field[:] = [names.setdefault(name, f"value {len(names)}") for name in field]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names)


def edited(value: Any, rng: random.Random) -> Any:
    """``value`` with one leaf replaced, or one entry of a list dropped, doubled or moved."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        return value | {key: edited(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.8:
            return [*value[:at], edited(value[at], rng), *value[at + 1 :]]
        return rng.choice([value[:at] + value[at + 1 :], [*value, value[at]], value[::-1]])
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.6:
        return value + rng.choice([-2, -1, 1, 2]) if isinstance(value, int) else value * rng.choice([-1.0, 0.0, 3.0])
    return rng.choice(VALUES)
