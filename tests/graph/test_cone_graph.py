"""Cones in a graph: which nodes become one, what stays a product, and what their rounding does to a margin."""

import math

import mpmath
import numpy as np
import onnx
import pytest
import torch
from mpmath import mp, mpf

from radii.graph import (
    methods,
    read_onnx,
    rules,
    to_module,
    with_cones,
)
from radii.graph.cone.find import MOST_SEARCHES
from radii.graph.ops import activation as act
from radii.graph.ops import threshold as thresholds
from radii.lipschitz import network_bound
from tests.graph.build import model, node, reference, relative_gap
from tests.graph.functions import CHOICE, ROOT, Steps, cone

RNG = np.random.default_rng(9)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_a_cone_is_one_node_and_the_graph_stays_as_it_was() -> None:
    nodes = [
        node("Gemm", ["x", "w"], "a"),
        node("Sigmoid", ["a"], "s"),
        node("Mul", ["a", "s"], "m"),
        node("Tanh", ["m"], "t"),
        node("Sub", ["m", "t"], "d"),
        node("Gemm", ["d", "v"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(6, 8)).astype(np.float32), "v": rng.normal(size=(8, 3)).astype(np.float32)}
    data = model(nodes, (6,), weights)
    graph = read_onnx(data)
    assert [entry.operator.name for entry in graph.nodes] == ["Gemm", "Sigmoid", "Mul", "Tanh", "Sub", "Gemm"]
    fused = with_cones(graph)
    assert [(entry.operator.name, entry.index) for entry in fused.nodes] == [
        ("Gemm", 0),
        ("Cone", 2),
        ("Cone", 4),
        ("Gemm", 5),
    ]
    x = rng.normal(size=(5, 6)).astype(np.float32)
    expected = reference(data, x)
    for made in (graph, fused):
        assert relative_gap(to_module(made)(torch.from_numpy(x)).numpy(), expected) < 1e-5
    bound = network_bound(graph, bound="product")
    norms = float(np.linalg.norm(weights["w"].astype(float), 2) * np.linalg.norm(weights["v"].astype(float), 2))
    assert bound.upper == pytest.approx(norms * 1.099839320129, rel=1e-5)
    assert methods(graph)[1] == {"kind": "lipschitz", "applies": True, "reasons": []}


def test_what_is_used_outside_the_cone_must_have_a_constant_itself() -> None:
    """x^3 is harmless inside of GELU's tanh; read by another node it is not."""
    inside = [
        node("Pow", ["x", "three"], "c"),
        node("Add", ["x", "c"], "u"),
        node("Tanh", ["u"], "t"),
        node("Add", ["t", "one"], "p"),
        node("Mul", ["x", "p"], "g"),
    ]
    constants = {"three": np.array(3, np.float32), "one": np.array(1, np.float32)}
    alone = read_onnx(model([*inside, node("Flatten", ["g"])], (6,), constants))
    assert methods(alone)[1]["applies"]
    leaking = read_onnx(model([*inside, node("Concat", ["g", "c"], axis=1)], (6,), constants))
    assert [reason["operator"] for reason in methods(leaking)[1]["reasons"]] == ["Pow"]


def test_loss_enters_the_forward_error() -> None:
    """A guard's jump is subtracted from every margin, times what follows."""
    steps: Steps = [(act.Softplus(), (0,)), (thresholds.Greater(np.array(20.0)), (0,)), (CHOICE, (2, 0, 1))]
    weight = np.eye(6, 3, dtype=np.float32) * 2
    graph = read_onnx(model([node("Relu", ["x"], "r"), node("Gemm", ["r", "w"])], (6,), {"w": weight}))
    relu, gemm = graph.nodes
    spelled = type(graph).build(
        graph.input, (6,), graph.output, [type(relu)(cone(steps), relu.inputs, relu.output, 0), gemm]
    )
    plain, guarded = network_bound(graph).error.at(1.0), network_bound(spelled).error.at(1.0)
    assert guarded >= 2 * math.log1p(math.exp(-20)) * math.sqrt(6) * 2
    assert plain < 1e-12


def test_a_file_full_of_different_functions_costs_a_bounded_number_of_searches() -> None:
    nodes, name, constants = [], "x", {}
    for i in range(MOST_SEARCHES + 5):
        constants[f"c{i}"] = np.array(0.5 + i / 1000, np.float32)
        nodes += [node("Mul", [name, f"c{i}"], f"k{i}"), node("Sigmoid", [f"k{i}"], f"s{i}")]
        nodes.append(node("Mul", [name, f"s{i}"], f"m{i}"))
        name = f"m{i}"
    graph = read_onnx(model([*nodes, node("Flatten", [name])], (6,), constants))
    reasons = methods(graph)[1]["reasons"]
    assert len(reasons) == 5
    assert {reason["operator"] for reason in reasons} == {"Mul"}


def test_what_a_cone_computes_stays_within_the_stated_error() -> None:
    """Logits in float64 against 60 digits, of a network whose activation is spelled out."""
    nodes = [
        node("Gemm", ["x", "w"], "a"),
        node("Div", ["a", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "p"),
        node("Mul", ["a", "p"], "q"),
        node("Gemm", ["q", "v"]),
    ]
    rng = np.random.default_rng(2)
    constants = {
        "w": rng.normal(size=(6, 8)).astype(np.float32),
        "v": rng.normal(size=(8, 3)).astype(np.float32),
        "root": np.array(ROOT, np.float32),
        "one": np.array(1, np.float32),
    }
    graph = read_onnx(model(nodes, (6,), constants))
    error = network_bound(graph).error
    run = to_module(graph, dtype=torch.float64)
    with mp.workdps(60):
        root = mpf(float(constants["root"]))
        for scale in (1e-3, 1.0, 1e3):
            x = rng.normal(size=6) * scale
            hidden = [
                sum(mpf(float(w)) * mpf(float(t)) for w, t in zip(row, x, strict=True)) for row in constants["w"].T
            ]
            active = [a * (1 + mpmath.erf(a / root)) for a in hidden]
            exact = [sum(mpf(float(v)) * a for v, a in zip(row, active, strict=True)) for row in constants["v"].T]
            found = run(torch.from_numpy(x)[None])[0].tolist()
            gap = mpmath.sqrt(sum((mpf(z) - e) ** 2 for z, e in zip(found, exact, strict=True)))
            assert gap <= error.at(float(np.linalg.norm(x)))


GELU = {
    "erf, half last": [
        node("Div", ["x", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "p"),
        node("Mul", ["x", "p"], "q"),
        node("Mul", ["q", "half"]),
    ],
    "half first, factors": [
        node("Mul", ["x", "half"], "h"),
        node("Mul", ["x", "inverse"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["one", "e"], "p"),
        node("Mul", ["p", "h"]),
    ],
    "half on the gate": [
        node("Div", ["x", "root"], "d"),
        node("Erf", ["d"], "e"),
        node("Add", ["e", "one"], "p"),
        node("Mul", ["p", "half"], "q"),
        node("Mul", ["x", "q"]),
    ],
}

SILU = {
    "silu": [node("Sigmoid", ["x"], "s"), node("Mul", ["x", "s"])],
    "quick gelu": [node("Mul", ["x", "quick"], "k"), node("Sigmoid", ["k"], "s"), node("Mul", ["s", "x"])],
}

SCALARS = {
    "root": np.array(ROOT, np.float32),
    "inverse": np.array(1 / ROOT, np.float32),
    "half": np.array(0.5, np.float32),
    "one": np.array([1], np.float32),
    "quick": np.array(1.702, np.float32),
}


@pytest.mark.parametrize(
    ("nodes", "upper"),
    [(nodes, 1.128904145186) for nodes in GELU.values()] + [(nodes, 1.09983932013) for nodes in SILU.values()],
    ids=[*GELU, *SILU],
)
def test_activations_spelled_out_are_recognised(nodes: list[onnx.NodeProto], upper: float) -> None:
    data = model(nodes, (6,), SCALARS)
    graph = read_onnx(data)
    constants = [entry.operator.lipschitz((6,)) for entry in with_cones(graph).nodes]
    slopes = [rule.upper for rule in constants if isinstance(rule, rules.Slope)]
    assert len(slopes) == len(constants) and math.prod(slopes) == pytest.approx(upper, rel=1e-11)
    x = RNG.normal(size=(50, 6)).astype(np.float32) * 3
    assert relative_gap(to_module(graph)(torch.from_numpy(x)).numpy(), reference(data, x)) < 1e-5


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", ["x", "x"])],
        [node("Relu", ["x"], "r"), node("Mul", ["x", "r"])],
        [node("MatMul", ["x", "w"], "v"), node("Sigmoid", ["v"], "s"), node("Mul", ["x", "s"])],  # a gate
        [node("Mul", ["x", "six"], "k"), node("Sigmoid", ["k"], "s"), node("Mul", ["s", "x"])],  # one factor an entry
    ],
)
def test_products_of_different_inputs_stay_products(nodes: list[onnx.NodeProto]) -> None:
    constants: dict[str, np.ndarray] = {**SCALARS, "w": floats(6, 6), "six": floats(6)}
    graph = read_onnx(model(nodes, (6,), constants))
    smoothing, lipschitz, _ = methods(graph)
    assert smoothing == {"kind": "smoothing", "applies": True, "reasons": []}
    assert not lipschitz["applies"]
    (reason,) = lipschitz["reasons"]
    assert (reason["node"], reason["operator"]) == (len(nodes) - 1, "Mul")
    assert "two activations" in reason["reason"]
    assert reason["remedy"]
