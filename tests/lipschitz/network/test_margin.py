"""Radii against closed forms in exact arithmetic, and what rounding does to logits."""

from fractions import Fraction
from functools import partial

import mpmath
import numpy as np
import pytest
import torch

from radii.graph import Graph, Node, to_module
from radii.lipschitz import Margin, certified_accuracy, margin_radius, network_bound
from tests.graph.networks import NETWORKS, trained
from tests.lipschitz.network.operators import new_operator
from tests.lipschitz.network.test_bound import graph_of, linear


def fractions(array: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(v)) for v in row] for row in np.atleast_2d(array)]


def exact_linear(weight: list[list[Fraction]], bias: list[Fraction], x: list[Fraction]) -> list[Fraction]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


@pytest.mark.parametrize("features", [2, 64, 3072])
def test_linear_classifier(features: int) -> None:
    rng = np.random.default_rng(features)
    weight, bias = rng.standard_normal((5, features)), rng.standard_normal(5)
    x = rng.random((12, features))
    graph = linear(weight, bias)
    logits = to_module(graph, dtype=torch.float64)(torch.from_numpy(x))
    margins = margin_radius(logits, network_bound(graph), norms=np.linalg.norm(x, axis=1))
    rows, offsets = fractions(weight), fractions(bias)[0]
    for point, margin in zip(x, margins, strict=True):
        z = exact_linear(rows, offsets, fractions(point)[0])
        y = max(range(5), key=z.__getitem__)
        with mpmath.workdps(40):
            radii = {
                j: mpmath.mpf(float(z[y] - z[j]))
                / mpmath.sqrt(mpmath.fsum(mpmath.mpf(d) ** 2 for d in (weight[y] - weight[j]).tolist()))
                for j in range(5)
                if j != y
            }
        nearest = min(radii, key=radii.__getitem__)
        assert (margin.prediction, margin.runner_up) == (y, nearest)
        # the reference itself is rounded when weights are subtracted and z is, by some 1e-16
        assert radii[nearest] * (1 - 1e-6) <= margin.radius <= radii[nearest] * (1 + 1e-14)


def test_no_attack_succeeds_within_the_radius() -> None:
    shape = NETWORKS["mlp"][1]
    graph = graph_of(trained("mlp"), shape)
    module, bound = to_module(graph, dtype=torch.float64), network_bound(graph)
    x = torch.rand(24, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    margins = margin_radius(module(x), bound, norms=x.flatten(1).norm(dim=1))
    for point, margin in zip(x, margins, strict=True):
        assert margin.prediction is not None and margin.radius
        delta = torch.zeros_like(point)
        for _ in range(30):
            delta.requires_grad_()
            logits = module((point + delta)[None])[0]
            others = torch.cat([logits[: margin.prediction], logits[margin.prediction + 1 :]])
            (gradient,) = torch.autograd.grad(others.max() - logits[margin.prediction], delta)
            delta = delta.detach() + margin.radius / 5 * gradient / gradient.norm()
            delta = delta * min(1.0, margin.radius / delta.norm().item())
            assert module((point + delta)[None])[0].argmax() == margin.prediction


BOUND = network_bound(linear(np.eye(3)))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([1.0, 1.0, 0.0], Margin(0, 1, None)),
        ([0.0, 2.0, 2.0], Margin(1, 2, None)),
        ([1.0, np.nextafter(1.0, 0), 0.0], Margin(0, 1, None)),
        ([np.nan, 1.0, 0.0], Margin(None, None, None)),
        ([np.inf, 1.0, 0.0], Margin(None, None, None)),
        ([1.0, 0.0, -np.inf], Margin(None, None, None)),
    ],
    ids=["tie", "tie of the last", "less than rounding", "nan", "inf", "-inf"],
)
def test_abstains(logits: list[float], expected: Margin) -> None:
    assert margin_radius(np.array([logits]), BOUND, norms=[1.0]) == [expected]


def test_a_norm_that_is_not_finite_abstains() -> None:
    assert margin_radius(np.array([[1.0, 0, 0]]), BOUND, norms=[np.nan]) == [Margin(None, None, None)]


def test_a_classifier_that_ignores_its_input_has_a_finite_radius() -> None:
    constant = network_bound(linear(np.zeros((2, 3)), [1.0, 0.0]))
    (margin,) = margin_radius(np.array([[1.0, 0.0]]), constant, norms=[1.0])
    assert margin.radius is not None and 1e300 < margin.radius < np.inf


@pytest.mark.parametrize(
    ("logits", "norms"),
    [
        (np.zeros((2, 3), dtype=np.float32), [1.0, 1.0]),
        (np.zeros((2, 4)), [1.0, 1.0]),
        (np.zeros(3), [1.0]),
        (np.zeros((2, 3)), [1.0]),
    ],
)
def test_what_does_not_fit_is_refused(logits: np.ndarray, norms: list[float]) -> None:
    with pytest.raises(ValueError, match=r"float64|shape"):
        margin_radius(logits, BOUND, norms=norms)


def test_forward_error_holds_in_exact_arithmetic() -> None:
    rng = np.random.default_rng(7)
    worst = 0.0
    for trial in range(20):
        scale = 10.0 ** rng.integers(-3, 4)
        w1, b1 = scale * rng.standard_normal((9, 6)), rng.standard_normal(9)
        w2, b2 = rng.standard_normal((4, 9)) / scale, rng.standard_normal(4)
        gemm = partial(new_operator, "Gemm")
        nodes = [
            Node(gemm(w1, b1), ("x",), "a", 0),
            Node(new_operator("Relu"), ("a",), "b", 1),
            Node(gemm(w2, b2), ("b",), "y", 2),
        ]
        graph = Graph.build("x", (6,), "y", nodes)
        bound = network_bound(graph, bound="product")
        x = 10.0 ** (trial % 5) * rng.standard_normal(6)
        z = to_module(graph, dtype=torch.float64)(torch.from_numpy(x)[None])[0]
        hidden = [max(h, Fraction(0)) for h in exact_linear(fractions(w1), fractions(b1)[0], fractions(x)[0])]
        exact = exact_linear(fractions(w2), fractions(b2)[0], hidden)
        error = float(sum((Fraction(float(v)) - e) ** 2 for v, e in zip(z, exact, strict=True))) ** 0.5
        claimed = bound.error.at(float(np.linalg.norm(x)) * (1 + 1e-12))
        assert error <= claimed
        worst = max(worst, error / claimed)
    assert worst > 1e-4  # not so loose as to say nothing


def test_forward_error_is_far_below_any_margin() -> None:
    for name, (_, shape) in NETWORKS.items():
        bound = network_bound(graph_of(trained(name), shape), bound="product")
        assert bound.error.at(np.sqrt(np.prod(shape))) < 1e-6 * bound.upper, name


def test_forward_error_of_smooth_activations() -> None:
    rng = np.random.default_rng(3)
    shapes = [(8, 4), (8, 8), (3, 8)]
    layers = [(rng.standard_normal(shape), rng.standard_normal(shape[0])) for shape in shapes]
    activations = [new_operator("Gelu", approximate="none"), new_operator("Sigmoid"), new_operator("Tanh")]
    operators = [
        op for pair in zip((new_operator("Gemm", *l) for l in layers), activations, strict=True) for op in pair
    ]
    nodes = [Node(operator, (str(i),), str(i + 1), i) for i, operator in enumerate(operators)]
    graph = Graph.build("0", (4,), "6", nodes)
    functions = [
        lambda v: v * (1 + mpmath.erf(v / mpmath.sqrt(2))) / 2,
        lambda v: 1 / (1 + mpmath.exp(-v)),
        mpmath.tanh,
    ]
    x = rng.random(4)
    z = to_module(graph, dtype=torch.float64)(torch.from_numpy(x)[None])[0]
    with mpmath.workdps(40):
        a = mpmath.matrix(x.tolist())
        for (weight, bias), function in zip(layers, functions, strict=True):
            a = (mpmath.matrix(weight.tolist()) * a + mpmath.matrix(bias.tolist())).apply(function)
        error = mpmath.norm(mpmath.matrix(z.tolist()) - a)
    assert error <= network_bound(graph).error.at(float(np.linalg.norm(x)))


@pytest.mark.parametrize("entries", [10, 2**20])
def test_an_average_of_many_may_lose_as_much_as_a_sum_in_order(entries: int) -> None:
    node = Node(new_operator("ReduceMean", (0,), True), ("x",), "y", 0)
    error = network_bound(Graph.build("x", (entries,), "y", [node])).error
    assert error.at(1.0) >= max(2.0**-36, entries * 2.0**-53) / np.sqrt(entries)


def test_what_overflowed_on_the_way_is_not_certified() -> None:
    """1.5e308 is infinite on the way through a hard swish; scaled back and clipped it is 5 in place of 1.5, below 3."""
    gemm = partial(new_operator, "Gemm")
    operators = [
        gemm(np.array([[1e308]]), None),
        new_operator("HardSwish"),
        gemm(np.array([[1e-308]]), None),
        new_operator("Clip", 0.0, 5.0),
        gemm(np.array([[1.0], [0.0]]), np.array([0.0, 3.0])),
    ]
    graph = Graph.build("0", (1,), "5", [Node(op, (str(i),), str(i + 1), i) for i, op in enumerate(operators)])
    logits = to_module(graph, dtype=torch.float64)(torch.tensor([[1.5]], dtype=torch.float64))
    assert logits.tolist() == [[5.0, 3.0]]
    assert margin_radius(logits, network_bound(graph), norms=[1.5]) == [Margin(0, 1, None)]


def test_certified_accuracy_counts_right_answers_with_the_radius() -> None:
    margins = [Margin(0, 1, 0.5), Margin(1, 0, 0.25), Margin(2, 0, 1.0), Margin(1, 2, None), Margin(None, None, None)]
    for radius, share in ((0.0, 0.4), (0.25, 0.4), (0.3, 0.2), (0.6, 0.0)):
        assert certified_accuracy(margins, [0, 1, 1, 1, 0], radius) == share
    with pytest.raises(ValueError, match="label"):
        certified_accuracy(margins, [0, 1], 0.1)
