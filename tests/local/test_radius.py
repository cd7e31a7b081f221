"""Radii against closed forms and attacks, and why the slack is needed."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from radii.attacks import attack_network
from radii.graph import Graph, to_module
from radii.graph.ops.activation import Gelu, Relu, Sigmoid, Tanh
from radii.graph.ops.elementwise import Add
from radii.graph.ops.groupnorm import LRN
from radii.graph.ops.linear import Linear
from radii.graph.ops.parametric import LeakyRelu
from radii.graph.ops.threshold import Sign
from radii.local import Effort, NotRelaxable, certify, margins, margins_in_box, slack
from radii.norms import Norm
from tests.local.networks import attention, chain, graph_of, image, linear, logits, settled

NORMS: list[Norm] = ["l2", "linf", "l1"]
DUAL = {"l2": 2, "linf": 1, "l1": np.inf}


@pytest.mark.parametrize("norm", NORMS)
def test_linear_classifiers_exactly(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e-30, 1e30):
        graph = graph_of((20,), [(linear(rng, 20, 5, scale), ("x",), "y")])
        weight = graph.nodes[0].operator.arrays()["weight"].astype(np.float64)
        x, labels = settled(graph, rng, 4)
        z = logits(graph, x)
        for i, result in enumerate(certify(graph, x, labels, norm=norm)):
            others = np.arange(5) != labels[i]
            rows = weight[labels[i]] - weight[others]
            truth = ((z[i, labels[i]] - z[i, others]) / np.linalg.norm(rows, DUAL[norm], axis=1)).min()
            assert 0.998 * truth <= result.radius <= truth * (1 + 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("effort", ["quick", "default"])
@pytest.mark.parametrize("function", [Relu, lambda: LeakyRelu(0.2), Tanh, Sigmoid, lambda: Gelu("none")])
def test_no_attack_inside(function: type[Relu], effort: Effort, norm: Norm) -> None:
    rng = np.random.default_rng(1)
    graph = chain(rng, (6, 12, 10, 4), function)
    _attacked(graph, norm, effort, rng)


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_inside_of_images(norm: Norm) -> None:
    rng = np.random.default_rng(2)
    _attacked(image(rng), norm, "quick", rng)


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_inside_of_attention(norm: Norm) -> None:
    rng = np.random.default_rng(12)
    _attacked(attention(rng), norm, "quick", rng)


def _attacked(graph: Graph, norm: Norm, effort: Effort, rng: np.random.Generator) -> None:
    x, labels = settled(graph, rng, 2)
    module = to_module(graph, dtype=torch.float64)
    for point, label, result in zip(x, labels, certify(graph, x, labels, norm=norm, effort=effort), strict=True):
        assert result.radius > 0
        attack = attack_network(
            module, torch.from_numpy(point), prediction=int(label), radius=result.radius, norm=norm, steps=20
        )
        assert not attack.contradicted
        assert attack.distance is None or attack.distance < 40 * result.radius  # it says something


def test_steps_are_refused_where_they_stand() -> None:
    """A jump has no lines around it, and none of the rules for smooth functions is used there."""
    rng = np.random.default_rng(3)
    graph = chain(rng, (3, 4, 2), Sign)
    x, labels = settled(graph, rng, 2)
    small = certify(graph, x, labels, effort="quick")
    weight, bias = (graph.nodes[0].operator.arrays()[name].astype(np.float64) for name in ("weight", "bias"))
    nearest = (np.abs(x @ weight.T + bias) / np.linalg.norm(weight, axis=1)).min(1)
    for result, distance in zip(small, nearest, strict=True):
        assert result.radius <= distance  # the nearest step


def test_what_has_no_rule_is_named() -> None:
    rng = np.random.default_rng(4)
    graph = graph_of((3, 2), [(LRN(0.1, 0.75, 1.0, 3), ("x",), "a"), (linear(rng, 2, 2), ("a",), "y")])
    with pytest.raises(NotRelaxable, match=r"node 0 \(LRN\)"):
        certify(graph, np.zeros((1, 3, 2)), np.zeros(1, int))


def test_targets_floors_and_ceilings() -> None:
    rng = np.random.default_rng(5)
    graph = chain(rng, (5, 8, 3))
    x, labels = settled(graph, rng, 3)
    radii = np.array([result.radius for result in certify(graph, x, labels, effort="quick")])
    asked = certify(graph, x, labels, effort="quick", target_radius=float(np.sort(radii)[1]))
    assert [result.radius > 0 for result in asked] == list(radii >= np.sort(radii)[1])
    above = certify(graph, x, labels, effort="quick", floor=3 * radii)
    assert [(result.radius, result.rule) for result in above] == [(3 * r, "floor") for r in radii]
    below = certify(graph, x, labels, effort="quick", ceiling=radii / 2)
    assert all(0.4 * r < result.radius < r / 2 for r, result in zip(radii, below, strict=True))
    wrong = certify(graph, x, (labels + 1) % 3, effort="quick")
    assert [(result.radius, result.proved) for result in wrong] == [(0.0, None)] * 3


@pytest.mark.parametrize("norm", NORMS)
def test_a_box_is_less_than_its_ball(norm: Norm) -> None:
    rng = np.random.default_rng(6)
    graph = chain(rng, (4, 8, 3))
    x, labels = settled(graph, rng, 3)
    box = x.min() - 0.01, x.max() + 0.01
    plain = margins(graph, x, labels, 0.5, norm=norm)
    boxed = margins(graph, x, labels, 0.5, norm=norm, box=box)
    assert (boxed >= plain - 1e-9)[np.isfinite(plain)].all() and (norm == "l1" or (boxed > plain + 1e-6).any())
    cube = margins_in_box(graph, x - 0.1, x + 0.1, labels)
    np.testing.assert_allclose(cube, margins(graph, x, labels, 0.1, norm="linf"), rtol=1e-9, atol=1e-9)
    for i, centre in enumerate(x):
        draws = rng.standard_normal((2000, 4))
        lengths = {"l2": np.linalg.norm(draws, axis=1), "linf": np.abs(draws).max(1), "l1": np.abs(draws).sum(1)}[norm]
        points = np.clip(centre + 0.5 * draws / lengths[:, None], *box)  # a box cuts, and never lengthens
        z = logits(graph, points)
        assert (z[:, labels[i], None] - z >= np.where(np.isfinite(boxed[i]), boxed[i], -1) - 1e-9).all()


def cancelling(rng: np.random.Generator) -> Graph:
    """Two classes equal but for rounding: sums that cancel beside biases of 2^24 and weights of 1e15."""
    big = (rng.standard_normal((30, 8)) * 1e15).astype(np.float32)
    once = Linear(np.concatenate([big, big]), np.full(60, 2.0**24, np.float32))
    signs = np.concatenate([np.ones(30), -np.ones(30)])
    order = rng.permutation(60)
    return graph_of(
        (8,),
        [
            (once, ("x",), "a"),
            (Relu(), ("a",), "b"),
            (Linear(np.stack([signs, signs[order] * 0]).astype(np.float32)), ("b",), "y"),
        ],
    )


def exact_margin(graph: Graph, x: np.ndarray) -> Fraction:
    """``z_0 - z_1`` in rational arithmetic."""
    values = [Fraction(float(value)) for value in x]
    for node in graph.nodes:
        arrays = node.operator.arrays()
        if "weight" not in arrays:
            values = [max(value, Fraction(0)) for value in values]
            continue
        bias = arrays.get("bias", np.zeros(len(arrays["weight"])))
        values = [
            sum((Fraction(float(w)) * v for w, v in zip(row, values, strict=True)), Fraction(float(b)))
            for row, b in zip(arrays["weight"], bias, strict=True)
        ]
    return values[0] - values[1]


def test_the_slack_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of margins that are exactly 0 none is proved; without the slack some are."""
    rng = np.random.default_rng(8)
    graph = cancelling(rng)
    x = rng.standard_normal((40, 8))
    assert all(exact_margin(graph, point) == 0 for point in x)
    assert not (margins(graph, x, np.zeros(40, int), 0.0)[:, 1] > 0).any()
    with monkeypatch.context() as patched:
        from radii.local import bounds, network, region, relaxation

        for module in (slack, network, region, relaxation):
            patched.setattr(module, "gamma", lambda addends: 0.0)
        for module in (slack, region, relaxation, bounds):
            patched.setattr(module, "STEP", 0.0)
        assert (margins(graph, x, np.zeros(40, int), 0.0)[:, 1] > 0).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1.0, 1e15, 1e30])
def test_any_scale_of_weights(scale: float) -> None:
    """What is bounded keeps its radius, and what overflows loses it."""
    rng = np.random.default_rng(9)
    graph = chain(rng, (5, 8, 8, 3))
    last = graph.nodes[-1].operator
    assert isinstance(last, Linear) and last.bias is not None
    nodes = [(node.operator, node.inputs, node.output) for node in graph.nodes]
    scaled = Linear(last.weight.astype(np.float64) * scale, last.bias.astype(np.float64) * scale)
    other = graph_of(
        (5,),
        [(op, tuple("x" if n == graph.input else n for n in i), o) for op, i, o in nodes[:-1]]
        + [(scaled, nodes[-1][1], "y")],
    )
    x, labels = settled(graph, rng, 3)
    ours = [result.radius for result in certify(graph, x, labels, effort="quick")]
    theirs = [result.radius for result in certify(other, x, labels, effort="quick")]
    np.testing.assert_allclose(ours, theirs, rtol=4e-3)


def test_overflow_proves_nothing() -> None:
    huge = Linear(np.full((4, 3), 1e200), np.zeros(4))
    graph = graph_of(
        (3,),
        [
            (huge, ("x",), "a"),
            (Relu(), ("a",), "b"),
            (Linear(np.full((4, 4), 1e200)), ("b",), "c"),
            (Linear(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]), np.array([5.0, 0.0])), ("c",), "y"),
        ],
    )
    assert (margins(graph, np.ones((4, 3)), np.zeros(4, int), 0.1)[:, 1] == -np.inf).all()


def test_one_activation_in_many_places() -> None:
    """Forms on what several nodes read are added up: x - x is 0."""
    graph = graph_of((3,), [(Relu(), ("x",), "a"), (Add(), ("a", "a"), "b"), (Linear(np.eye(2, 3)), ("b",), "y")])
    found = margins(graph, np.array([[1.0, 0.5, 0.0]]), np.zeros(1, int), 0.25, norm="linf")
    assert 0 <= 0.0 - found[0, 1] < 1e-9  # 2 (0.75 - 0.75)
