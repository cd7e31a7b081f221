"""Every operator that a stranger may write: wrong fields are refused, and what is admitted keeps its word."""

import json
import math
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from radii.graph import (
    Graph,
    Limits,
    Node,
    Operator,
    UnsupportedModel,
    from_canonical,
    read_onnx,
    rules,
    to_module,
    undecorated,
)
from radii.graph.admission import admit
from radii.graph.canonical import decode
from radii.graph.errors import Refusal
from radii.graph.ir import array_digest
from radii.graph.ops import activation, copies, layout, linear, pool
from radii.graph.ops.layout import Reshape
from radii.graph.ops.registry import NODES, OPERATORS
from radii.graph.ops.select import Slice
from radii.graph.weights import write_safetensors
from radii.lipschitz import UnboundedModel, network_bound
from tests.graph.canonical import edited
from tests.graph.hostile import HOSTILE, IMAGE, RESIZE, f, windows
from tests.graph.quantised import examples
from tests.graph.space import corpus


def classes(of: type[Operator] = Operator) -> Iterator[type[Operator]]:
    """Every class of operators in radii.graph.ops that is more than a base of others."""
    for cls in of.__subclasses__():
        if cls.__module__.startswith("radii.graph.ops.") and (not cls.__subclasses__() or cls.__name__ in OPERATORS):
            yield cls
        yield from classes(cls)


def test_every_operator_has_its_rule_here_or_is_read_as_others() -> None:
    found = {cls.__name__: cls for cls in classes()}
    assert len(found) > 90
    assert {name for name, cls in found.items() if cls.is_node} == set(NODES)
    without = [name for name, cls in NODES.items() if cls.check is Operator.check]
    assert without == [], "write the method `check`"
    names = {name for name, cls in found.items() if not cls.is_node}
    assert names == {"Identity", "Dropout", "Cast", "GlobalMaxPool", "Split", "Upsample"}


# Wrong fields, one by one


@pytest.mark.parametrize(("operator", "attributes", "arrays", "inputs"), HOSTILE, ids=lambda value: str(value)[:50])
def test_an_operator_that_would_not_do_what_it_says_is_refused(
    operator: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray], inputs: int
) -> None:
    digests = {name: array_digest(array) for name, array in arrays.items()}
    entry = {"operator": operator, "attributes": attributes, "arrays": digests, "inputs": [0] * inputs}
    document = {"format": 1, "input_shape": IMAGE, "output": 1, "nodes": [entry]}
    weights = write_safetensors({f"1.{name}": array for name, array in arrays.items()})
    with pytest.raises(UnsupportedModel) as caught:
        from_canonical(json.dumps(document).encode(), weights)
    (obstacle,) = caught.value.obstacles
    assert obstacle.node == 0  # its own fault, not that of the whole
    assert obstacle.reason and obstacle.remedy


def test_every_rule_is_tried() -> None:
    tried = {NODES[operator].check for operator, *_ in HOSTILE if operator in NODES}
    nothing = {activation.Univariate.check, layout.Truth.check, copies.Parameter.check, linear.Product.check}
    assert {cls.check for cls in NODES.values()} - tried <= nothing | {pool.GlobalAveragePool.check}  # the shape alone


# Random fields

SECONDS, MEGABYTES = 2, 300  # 1 GB is what is allowed


def changed(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """The array with other entries, or of another shape or type."""
    zeros = np.where(np.arange(array.size).reshape(array.shape) % 2, array, 0).astype(array.dtype)
    with np.errstate(invalid="ignore"):
        integers = array.astype(np.int64)
    other = [array.T, zeros, array[None], array[:1] if array.ndim else array, integers, array[..., None]]
    if array.dtype.kind == "f":
        other += [array.astype(np.float64) * factor for factor in (1e60, 1e-60, -3.0)]
    return rng.choice(other).copy()


CASES = 8  # of an operator: with fewer not every class is among them
Row = tuple[dict[str, Any], dict[str, np.ndarray], list[tuple[int, ...]]]


def table() -> dict[type[Operator], list[Row]]:
    """Attributes, arrays and input shapes of every node of the case table, by its class."""
    found: dict[type[Operator], list[Row]] = {copies.Parameter: [({}, {"value": f(4, 3)}, [IMAGE])]}
    for data in (*(case.data() for case in corpus(CASES)), *examples()):
        graph = read_onnx(data)
        for node in graph.nodes:
            attributes = json.loads(json.dumps(node.operator.settings()))
            row = (attributes, node.operator.arrays(), list(graph.input_shapes(node)))
            found.setdefault(type(node.operator), []).append(row)
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
    """It runs, keeps samples apart, makes the shape it says, is no steeper than it says, and costs what it may."""
    rng, rows = random.Random(1), table()
    assert set(rows) == set(NODES.values()), {cls.__name__ for cls in set(NODES.values()) - set(rows)}
    tried: Counter[type[Operator]] = Counter()
    bounded, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    for number in range(50 * len(NODES)):
        slowest, started = max(slowest, time.process_time() - started), time.process_time()
        cls = list(NODES.values())[number % len(NODES)]
        attributes, arrays, inputs = rng.choice(rows[cls if rng.random() < 0.9 else rng.choice(list(rows))])
        if attributes and rng.random() < 0.8:
            attributes = edited(attributes, rng)
        if arrays and rng.random() < 0.2:
            name = rng.choice(sorted(arrays))
            arrays = arrays | {name: changed(arrays[name], rng)}
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
        scale = float(y.abs().nan_to_num(0.0, 0.0).max())
        assert torch.allclose(torch.cat([module(row[None]) for row in x]), y, 1e-9, 1e-9 * scale, equal_nan=True)
        tried[cls] += 1
        logits = undecorated(graph)
        if logits is not graph:  # the largest outputs are those of the largest logits
            tops, z = y.topk(2).values, to_module(logits, dtype=torch.float64)(x)
            apart = tops[:, 0] - tops[:, 1] > 1e-9 * scale
            assert torch.equal(y.argmax(1)[apart], z.argmax(1)[apart]), (cls, attributes)
        try:
            upper = network_bound(graph, bound="product", task="regressor").upper
        except UnboundedModel:
            continue
        bounded += 1
        assert steepest(graph) <= upper * (1 + 1e-9) + 1e-10, (cls, attributes)
    assert min(tried[cls] for cls in NODES.values()) >= 3, tried
    assert bounded > 700
    assert slowest < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


WIDE = [  # all that a sample may hold, of which little is read
    ("AveragePool", windows(kernel=[1], strides=[64], dilations=[1], pads=[[0, 0]]) | {"include_pad": False}),
    ("MaxPool", windows(kernel=[1], strides=[64], dilations=[1], pads=[[0, 0]])),
    ("Resize", RESIZE | {"mode": "cubic", "sizes": [2**18], "scales": [2.0**-7]}),
]


@pytest.mark.parametrize(("operator", "attributes"), WIDE, ids=lambda value: str(value)[:50])
def test_the_largest_inputs_cost_what_they_may(operator: str, attributes: dict[str, Any]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    made = decode(NODES[operator], attributes, {})
    shape = admit(made, [(1, 2**25)], Limits())
    assert isinstance(made.lipschitz((1, 2**25)), rules.Slope)
    assert math.prod(shape) <= Limits().activation_elements
    assert time.process_time() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 1000
