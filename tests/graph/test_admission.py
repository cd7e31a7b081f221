"""Whatever operator is admitted runs, keeps samples apart, makes the shape it says, and is no steeper than it says."""

import json
import math
import random
from collections import Counter
from typing import Any

import numpy as np
import torch

from radii.graph import Graph, Limits, Node, Operator, methods, read_onnx, to_module
from radii.graph.admission import RULES, admit
from radii.graph.canonical import decode
from radii.graph.errors import Refusal
from radii.graph.ops.layout import Reshape
from radii.graph.ops.select import Slice
from radii.lipschitz import network_bound
from tests.graph.cases import GOOD

NUMBERS: list[Any] = [-2, -1, 0, 1, 2, 3, 7, 100, -0.5, 0.0, 1.5, True, False, None, "edge", "tanh", "reflect", [], [1]]


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
    return rng.choice(NUMBERS)


def operators() -> list[tuple[type[Operator], dict[str, Any], dict[str, np.ndarray], list[tuple[int, ...]]]]:
    """Class, attributes, arrays and input shapes of every node of the case table."""
    found = []
    for case in GOOD:
        graph = read_onnx(case.data())
        for node in graph.nodes:
            if type(node.operator) in RULES:
                attributes = json.loads(json.dumps(node.operator.settings()))
                found.append((type(node.operator), attributes, node.operator.arrays(), list(graph.input_shapes(node))))
    return found


def alone(operator: Operator, inputs: list[tuple[int, ...]], made: tuple[int, ...]) -> Graph:
    """A graph of ``operator``, whose inputs are stretches of one vector, and a Reshape to a vector."""
    sizes = [math.prod(shape) for shape in inputs]
    starts = np.cumsum([0, *sizes])
    nodes = []
    for i, shape in enumerate(inputs):
        piece = Slice((0,), ((int(starts[i]), int(starts[i + 1]), 1),))
        nodes += [Node(piece, ("x",), f"s{i}", -1), Node(Reshape(shape), (f"s{i}",), f"x{i}", -1)]
    nodes.append(Node(operator, tuple(f"x{i}" for i in range(len(inputs))), "z", 0))
    nodes.append(Node(Reshape((math.prod(made),)), ("z",), "y", 1))
    return Graph.build("x", (sum(sizes),), "y", nodes)


def steepest(graph: Graph) -> float:
    """The largest slope between random inputs of several scales, in float64."""
    module, generator = to_module(graph, dtype=torch.float64), torch.Generator().manual_seed(0)
    found = 0.0
    for scale, step in ((0.1, 1e-4), (1.0, 1e-3), (1.0, 1.0), (10.0, 0.1)):
        x = scale * torch.randn(32, *graph.input_shape, dtype=torch.float64, generator=generator)
        d = step * torch.randn(32, *graph.input_shape, dtype=torch.float64, generator=generator)
        with torch.inference_mode():
            gap = (module(x + d) - module(x)).flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
        found = max(found, float(gap.nan_to_num(0.0).max()))
    return found


def test_what_is_admitted_keeps_its_word() -> None:
    rng, table = random.Random(1), operators()
    tried: Counter[str] = Counter()
    bounded = 0
    for _ in range(8000):
        cls, attributes, arrays, inputs = rng.choice(table)
        if rng.random() < 0.15:
            cls = rng.choice(list(RULES))
        if attributes and rng.random() < 0.85:
            attributes = edited(attributes, rng)
        if rng.random() < 0.2:
            inputs = [tuple(rng.choice([1, size, size + 1]) for size in shape[rng.randrange(2) :]) for shape in inputs]
        try:
            operator = decode(cls, attributes, arrays)
            made = admit(operator, inputs, Limits(activation_elements=20_000))
        except Refusal:
            continue
        graph = alone(operator, inputs, made)
        x = torch.rand(3, *graph.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        module = to_module(graph, dtype=torch.float64)
        y = module(x)
        assert y.shape == (3, math.prod(made))
        assert torch.allclose(torch.cat([module(row[None]) for row in x]), y, rtol=1e-9, equal_nan=True)
        tried[cls.__name__] += 1
        if methods(graph)[1]["applies"]:
            bounded += 1
            assert steepest(graph) <= network_bound(graph).upper * (1 + 1e-9) + 1e-10, (cls, attributes)
    assert len(tried) == len(RULES), {cls.__name__ for cls in RULES} - set(tried)
    assert bounded > 1000
