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

from radii.graph import Graph, Limits, Node, Operator, UnsupportedModel, from_canonical, methods, read_onnx, to_module
from radii.graph.admission import admit
from radii.graph.canonical import decode
from radii.graph.errors import Refusal
from radii.graph.ir import array_digest
from radii.graph.ops import activation, copies, layout, linear, pool
from radii.graph.ops.layout import Reshape
from radii.graph.ops.registry import NODES, OPERATORS
from radii.graph.ops.select import Slice
from radii.graph.weights import write_safetensors
from radii.lipschitz import network_bound
from tests.graph.canonical import edited
from tests.graph.cases import GOOD

RNG = np.random.default_rng(4)


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

WINDOWS = {"kernel": [2, 2], "strides": [1, 1], "dilations": [1, 1], "pads": [[0, 0], [0, 0]], "ceil": False}
IMAGE = (4, 9, 8)


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def windows(**changes: Any) -> dict[str, Any]:
    return {"windows": WINDOWS | changes}


CONV = {"weight": f(5, 4, 2, 2)}
RESIZE = {
    "mode": "linear", "coordinates": "half_pixel", "rounding": "floor", "cubic": -0.75,
    "axes": [1], "sizes": [18], "scales": [2.0],
}  # fmt: skip
SPREAD = {"weight": f(4, 3, 2, 2)}
TRANSPOSED = {"bias": None, "groups": 1, "extra": [0, 0], **windows()}
HOSTILE: list[tuple[str, dict[str, Any], dict[str, np.ndarray], int]] = [
    ("Relu", {}, {}, 2),
    ("Relu", {}, {"indices": np.array([0])}, 1),
    ("Gelu", {"approximate": "sign"}, {}, 1),
    ("Celu", {"alpha": -0.5}, {}, 1),
    ("LeakyRelu", {"alpha": "0.1"}, {}, 1),
    ("LeakyRelu", {"alpha": 10**400}, {}, 1),
    ("LeakyRelu", {}, {}, 1),
    ("LeakyRelu", {"alpha": None}, {}, 1),
    ("PRelu", {}, {"slope": f(2, 4, 9, 8)}, 1),
    ("PRelu", {}, {"slope": np.array(np.nan, np.float32)}, 1),
    ("Add", {"constant": None, "constant_first": False}, {}, 1),
    ("Add", {"constant_first": False}, {"constant": f(1)}, 2),
    ("Add", {"constant_first": False}, {"constant": f(2, 4, 9, 8)}, 1),
    ("Add", {"constant_first": 0}, {"constant": f(1)}, 1),
    ("Add", {"constant_first": False}, {"constant": np.array([1])}, 1),
    ("Div", {"constant_first": False}, {"constant": np.array([0], np.float32)}, 1),
    ("Sum", {}, {"constant": f(2, 1, 1, 1)}, 2),
    ("Reshape", {"target": [-18, -16]}, {}, 1),
    ("Reshape", {"target": [288.0]}, {}, 1),
    ("Reshape", {"target": [1] * 17 + [288]}, {}, 1),
    ("Transpose", {"permutation": [0, 0, 1]}, {}, 1),
    ("Transpose", {"permutation": [0, 1]}, {}, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(dilations=[0, 1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(strides=[1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(kernel=[1, 1])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(pads=[[-1, 0], [0, 0]])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(pads=[[2**40, 0], [0, 0]])}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, **windows(ceil=True)}, CONV, 1),
    ("Conv", {"bias": None, "groups": 2, **windows()}, CONV, 1),
    ("Conv", {"bias": None, "groups": 0, **windows()}, CONV, 1),
    ("Conv", {"groups": 1, **windows()}, CONV | {"bias": f(4)}, 1),
    ("Conv", {"bias": None, "groups": 1, "windows": {}}, CONV, 1),
    ("Conv", {"bias": None, "groups": 1, "windows": WINDOWS | {"more": 1}}, CONV, 1),
    ("MaxPool", windows(pads=[[2, 2], [0, 0]]), {}, 1),
    ("MaxPool", windows(kernel=[2], strides=[1], dilations=[1], pads=[[0, 0]]), {}, 1),
    ("MaxPool", windows(kernel=[2**19, 2], pads=[[2**18, 2**18], [0, 0]]), {}, 1),
    ("AveragePool", {**windows(dilations=[2, 2]), "include_pad": False}, {}, 1),
    ("ReduceMean", {"axes": [], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [1, 1], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [-1], "keepdims": True}, {}, 1),
    ("ReduceMean", {"axes": [0], "keepdims": 2}, {}, 1),
    ("MatMul", {"bias": None}, {"weight": f(3, 7)}, 1),
    ("MatMul", {}, {"weight": f(3, 8), "bias": f(1)}, 1),
    ("LeftMatMul", {}, {"weight": f(3, 8)}, 1),
    ("LeftMatMul", {}, {"weight": f(9)}, 1),
    ("Product", {}, {}, 1),
    ("BatchNormalization", {}, {"scale": f(1), "offset": f(1)}, 1),
    ("LayerNormalization", {"axis": 2, "epsilon": -1.0, "bias": None}, {"scale": f(8)}, 1),
    ("LayerNormalization", {"axis": 1, "epsilon": 1.0, "bias": None}, {"scale": f(8)}, 1),
    ("LayerNormalization", {"axis": 2, "epsilon": 1.0}, {"scale": f(8), "bias": f(1)}, 1),
    ("Softmax", {"axis": 3, "trailing": False}, {}, 1),
    ("Softmax", {"axis": -1, "trailing": False}, {}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([4])}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([-1])}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([], np.int64)}, 1),
    ("Gather", {"axis": 0}, {"indices": np.array([0.0])}, 1),
    ("Slice", {"axes": [0], "ranges": [[0, 5, 1]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[-1, 3, 1]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[0, 3, 0]]}, {}, 1),
    ("Slice", {"axes": [0], "ranges": [[3, 1, 1]]}, {}, 1),
    ("Slice", {"axes": [0, 1], "ranges": [[0, 3, 1]]}, {}, 1),
    ("Pad", {"mode": "mirror", "pads": [[1, 1]] * 3, "value": 0.0}, {}, 1),
    ("Pad", {"mode": "reflect", "pads": [[4, 0], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "edge", "pads": [[-1, 0], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[-4, 9], [0, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[2**19, 0], [2**19, 0], [0, 0]], "value": 0.0}, {}, 1),
    ("Pad", {"mode": "constant", "pads": [[1, 1]], "value": 0.0}, {}, 1),
    ("Concat", {"axis": 3}, {}, 2),
    ("Concat", {"axis": 0}, {}, 1),
    ("Identity", {}, {}, 1),
    ("Upsample", RESIZE, {}, 1),
    ("Extreme", {}, {"constant": f(1)}, 1),
    ("Operator", {}, {}, 1),
    ("Max", {}, {"constant": f(1, 4, 1, 1)}, 1),
    ("Greater", {"constant_first": True, "constant": None}, {}, 2),
    ("Div", {"constant_first": False}, {"constant": np.array([1e-60])}, 1),
    ("Where", {"yes": None, "no": None}, {"condition": f(1)}, 2),
    ("Where", {"yes": None, "no": None}, {"condition": np.array([True])}, 3),
    ("Where", {"yes": None, "no": None}, {"condition": np.ones((3, 4, 9, 8), bool)}, 2),
    ("TopK", {"k": 5, "axis": 0, "largest": True}, {}, 1),
    ("TopK", {"k": 0, "axis": 0, "largest": True}, {}, 1),
    ("DepthToSpace", {"block": 3, "mode": "DCR"}, {}, 1),
    ("DepthToSpace", {"block": 2, "mode": "ABC"}, {}, 1),
    ("DepthToSpace", {"block": -2, "mode": "DCR"}, {}, 1),
    ("SpaceToDepth", {"block": 2}, {}, 1),
    ("Expand", {"target": [4, 9]}, {}, 1),
    ("Expand", {"target": [1, 9, 8]}, {}, 1),
    ("Expand", {"target": [1, 4, 9, 8]}, {}, 1),
    ("Tile", {"repeats": [1, -1, 1]}, {}, 1),
    ("Tile", {"repeats": [1, 2]}, {}, 1),
    ("Tile", {"repeats": [2**20, 2**20, 2**20]}, {}, 1),
    ("Matrices", {"left": True}, {"weight": f(3, 5, 9)}, 1),
    ("Matrices", {"left": True}, {"weight": f(1, 4, 5, 9)}, 1),
    ("Matrices", {"left": True}, {"weight": f(5, 9)}, 1),
    ("GroupNormalization", {"groups": 3, "epsilon": 1.0}, {"scale": f(4), "bias": f(4)}, 1),
    ("GroupNormalization", {"groups": 2, "epsilon": 1.0}, {"scale": f(2), "bias": f(2)}, 1),
    ("GroupNormalization", {"groups": 2, "epsilon": -1.0}, {"scale": f(4), "bias": f(4)}, 1),
    ("InstanceNormalization", {"groups": 2, "epsilon": 1.0}, {"scale": f(4), "bias": f(4)}, 1),
    ("RMSNormalization", {"axis": 1, "epsilon": 1.0}, {"scale": f(8)}, 1),
    ("LRN", {"alpha": 1.0, "beta": 1.0, "bias": 1.0, "size": 2}, {}, 1),
    ("LRN", {"alpha": 1.0, "beta": 1.0, "bias": 0.0, "size": 3}, {}, 1),
    ("LRN", {"alpha": -1.0, "beta": 1.0, "bias": 1.0, "size": 3}, {}, 1),
    ("Attention", {"mask": None, "heads": 2, "groups": 2, "scale": 1.0, "causal": False}, {}, 3),
    ("Attention", {"mask": None, "heads": 4, "groups": 3, "scale": 1.0, "causal": False}, {}, 3),
    ("Attention", {"mask": None, "heads": 4, "groups": 0, "scale": 1.0, "causal": False}, {}, 3),
    ("Attention", {"heads": 4, "groups": 4, "scale": 1.0, "causal": False}, {"mask": f(2, 4, 9, 9)}, 3),
    ("Einsum", {"equation": "bchw->bhwc", "constant": None, "constant_first": True}, {}, 1),
    ("Einsum", {"equation": "bchw->cbhw", "constant": None, "constant_first": False}, {}, 1),
    ("Einsum", {"equation": "bchw->bhw", "constant": None, "constant_first": False}, {}, 1),
    ("Einsum", {"equation": "bchw->bchwz", "constant": None, "constant_first": False}, {}, 1),
    ("Einsum", {"equation": "...->...", "constant": None, "constant_first": False}, {}, 1),
    ("Einsum", {"equation": "bchw,bchw,bchw->bchw", "constant": None, "constant_first": False}, {}, 3),
    ("Einsum", {"equation": "bchw,bchw->bchw", "constant_first": False}, {"constant": f(3, 4, 9, 8)}, 1),
    ("Einsum", {"equation": "bchw,co->bohw", "constant_first": False}, {"constant": f(5, 2)}, 1),
    ("Resize", RESIZE | {"mode": "quintic"}, {}, 1),
    ("Resize", RESIZE | {"coordinates": "tf_crop_and_resize"}, {}, 1),
    ("Resize", RESIZE | {"axes": [3]}, {}, 1),
    ("Resize", RESIZE | {"axes": [-1]}, {}, 1),
    ("Resize", RESIZE | {"sizes": [19]}, {}, 1),
    ("Resize", RESIZE | {"scales": [1e-300]}, {}, 1),
    ("Resize", RESIZE | {"scales": [2.0, 2.0]}, {}, 1),
    ("Resize", RESIZE | {"mode": "cubic", "cubic": 1e300}, {}, 1),
    ("Resize", RESIZE | {"sizes": [2**20, 1], "scales": [2**20 / 9, 1 / 8], "axes": [1, 2]}, {}, 1),
    ("ConvTranspose", TRANSPOSED | {"extra": [1, 0]}, SPREAD, 1),
    ("ConvTranspose", TRANSPOSED | {"extra": [0]}, SPREAD, 1),
    ("ConvTranspose", TRANSPOSED | {"groups": 3}, SPREAD, 1),
    ("ConvTranspose", TRANSPOSED, {"weight": f(5, 3, 2, 2)}, 1),
    ("ConvTranspose", TRANSPOSED | windows(kernel=[1, 1]), SPREAD, 1),
    ("ConvTranspose", TRANSPOSED | windows(pads=[[9, 9], [0, 0]]), SPREAD, 1),
    (
        "ConvTranspose",
        TRANSPOSED | windows(dilations=[2**20] * 2, pads=[[2**19] * 2] * 2),
        {"weight": f(4, 1, 2, 2)},
        1,
    ),
    ("MaxPool", windows(dilations=[2**20] * 2, pads=[[2**20, 8]] * 2), {}, 1),
    ("Col2Im", {**windows(), "image": [4, 9, 8]}, {}, 1),
]


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
    other = [array.T, zeros, array[None], array[:1] if array.ndim else array, array.astype(np.int64), array[..., None]]
    if array.dtype.kind == "f":
        other += [array.astype(np.float64) * factor for factor in (1e60, 1e-60, -3.0)]
    return rng.choice(other).copy()


Row = tuple[dict[str, Any], dict[str, np.ndarray], list[tuple[int, ...]]]


def table() -> dict[type[Operator], list[Row]]:
    """Attributes, arrays and input shapes of every node of the case table, by its class."""
    found: dict[type[Operator], list[Row]] = {copies.Parameter: [({}, {"value": RNG.normal(size=(4, 3))}, [IMAGE])]}
    for case in GOOD:
        graph = read_onnx(case.data())
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
    for number in range(8_000):
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
        if methods(graph)[1]["applies"]:
            bounded += 1
            assert steepest(graph) <= network_bound(graph).upper * (1 + 1e-9) + 1e-10, (cls, attributes)
    assert min(tried[cls] for cls in NODES.values()) >= 5, tried
    assert bounded > 1000
    assert slowest < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
