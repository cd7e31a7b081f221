"""ECLipsE by hand, its descent, and proposals that are wrong."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import with_cones
from radii.graph.ir import Graph
from radii.lipschitz import network_bound
from radii.lipschitz.network import descent, eclipse
from radii.lipschitz.network.chain import Walk, chains
from radii.lipschitz.network.descent import Recursion
from radii.lipschitz.network.effort import Effort
from radii.lipschitz.network.layers import Layer, layers_of
from radii.lipschitz.network.norms import node_norms
from tests.lipschitz.network.sharp import Made, Make, random_conv, random_mlp, random_pooled, relu_graph
from tests.lipschitz.network.test_bound import graph_of


def layers_in(graph: Graph) -> list[Layer]:
    """The layers of a graph that is one chain."""
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    (chain,) = chains(Walk(graph, rules, node_norms(graph, rules, 1e-9)[0]))
    (layers,) = layers_of(chain)
    return layers


def test_eclipse_fast_by_hand() -> None:
    rng = np.random.default_rng(2)
    matrices = [rng.standard_normal(shape) for shape in ((5, 4), (6, 5), (3, 6))]
    graph = relu_graph(matrices)
    layers = layers_in(graph)
    found = eclipse.features(layers, descent.fast(layers)[1]).upper(1e-9)
    x = np.eye(4)
    for w in matrices[:-1]:
        m = w @ np.linalg.inv(x) @ w.T
        factor = 2 / np.linalg.eigvalsh(m).max()
        x = factor * np.eye(len(m)) - factor**2 / 4 * m
    expected = np.sqrt(np.linalg.eigvalsh(matrices[-1] @ np.linalg.inv(x) @ matrices[-1].T).max())
    assert expected * (1 - 1e-12) <= found <= expected * (1 + 1e-6)
    assert network_bound(graph, bound="eclipse").upper <= expected * (1 + 1e-6)  # descent only lowers it


def parts_in(graph: Graph) -> list[list[Layer]]:
    """The parts of all chains of a graph, each in blocks of one kind."""
    graph = with_cones(graph)
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    found = chains(Walk(graph, rules, node_norms(graph, rules, 1e-9)[0]))
    return [part for chain in found for part in layers_of(chain)]


def value_at(layers: list[Layer], flat: list[np.ndarray], objective: descent.Objective) -> tuple[float, Recursion]:
    parameters = [(shape, float(logit)) for shape, logit in zip(flat[::2], flat[1::2], strict=True)]
    final = descent._recursion(layers, parameters)
    return objective(final.blocks)[0] + final.exponent * np.log(4), final


def ending_in_an_activation(seed: int) -> list[Layer]:
    rng = np.random.default_rng(seed)
    return layers_in(relu_graph([rng.standard_normal(shape) for shape in ((5, 4), (6, 5), (3, 6), (3, 3))]))[:3]


PARTS = {
    "dense": lambda seed: parts_in(graph_of(*random_mlp(seed))),
    "convolutions": lambda seed: parts_in(graph_of(*random_conv(seed))),
    "strides": lambda seed: parts_in(graph_of(*random_pooled(seed))),
    "ending in an activation": lambda seed: [ending_in_an_activation(seed)],
}


@pytest.mark.parametrize("objective", [descent.norm_of, descent.mean_pair])
@pytest.mark.parametrize("kind", PARTS)
def test_slopes_are_those_of_finite_differences(kind: str, objective: descent.Objective) -> None:
    """Layers of slopes of one sign and of both, real blocks and complex ones, which a dense layer gathers."""
    looked_at, sampled = set(), set()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for layers in PARTS[kind](seed):
            slopes = [layer.slopes for layer in layers if layer.slopes is not None]
            if any(abs(a + b) <= 0.1 * max(abs(a), abs(b)) for a, b in slopes):
                continue
            flat = [np.array(p) for parameter in descent._parameters(layers, 1.0) for p in parameter]
            flat = [part + rng.uniform(-0.3, 0.0, part.shape) for part in flat]
            value, final = value_at(layers, flat, objective)
            if not flat or not np.isfinite(value):
                continue
            found = [np.asarray(part) for pair in final.slopes(objective(final.blocks)[1]) for part in pair]
            step, scale = 1e-5, max(float(np.abs(part).max()) for part in found)
            for i, part in enumerate(flat):
                way = rng.standard_normal(part.shape)
                moved = [[*flat[:i], part + s * way, *flat[i + 1 :]] for s in (-step, step)]
                low, high = (value_at(layers, m, objective)[0] for m in moved)
                slope = float((found[i] * way).sum())
                assert slope == pytest.approx((high - low) / (2 * step), rel=1e-4, abs=1e-5 * scale)
            sampled |= {a * b != 0 for layer, (a, b) in zip(layers, slopes, strict=False) if layer.aliases is not None}
            looked_at |= {(layer.blocks.dtype.kind, a * b != 0) for layer, (a, b) in zip(layers, slopes, strict=False)}
    assert looked_at >= ({("c", True), ("c", False)} if kind in ("convolutions", "strides") else {("f", False)})
    assert sampled >= ({True, False} if kind == "strides" else set())


def test_descent_ends_where_it_gains_nothing() -> None:
    rng = np.random.default_rng(13)
    matrices = [rng.standard_normal(shape) for shape in ((12, 8), (12, 12), (3, 12))]
    steps = []
    for weights in ([np.eye(8)] * 3, matrices):
        values: list[float] = []

        def objective(final: np.ndarray, values: list[float] = values) -> tuple[float, np.ndarray]:
            value, slope = descent.norm_of(final)
            values.append(value)
            return value, slope

        layers = layers_in(relu_graph(weights))
        given = descent.fast(layers)[1]
        found, start = (
            eclipse.features(layers, m) for m in (descent.descended(layers, objective, 20, given, 1.0), given)
        )
        assert found.upper(1e-6) <= start.upper(1e-6) * (1 + 1e-5)  # it begins a little below ECLipsE-Fast
        steps.append(len(values))
    assert steps[0] == descent.PATIENCE + 1 < steps[1]


def test_descent_is_for_networks_that_can_afford_it() -> None:
    small, large = (layers_in(relu_graph([np.eye(n)] * 3)) for n in (8, 600))
    assert descent.affordable_steps(small, 2**33) == descent.STEPS
    assert descent.affordable_steps(large, 2**33) < descent.LEAST_STEPS  # ECLipsE-Fast alone, then


def test_larger_multipliers_are_tried_and_orthogonal_layers_keep_theirs() -> None:
    rng = np.random.default_rng(21)
    matrices = [rng.standard_normal(shape) for shape in ((60, 40), (60, 60), (10, 60))]
    rotations = [np.linalg.qr(rng.standard_normal((40, 40)))[0] for _ in range(3)]
    for weights, gains in ((matrices, True), (rotations, False)):
        layers = layers_in(relu_graph(weights))
        (wide, larger), (value, plain) = (descent.fast(layers, rest) for rest in (0.3, 1.0))
        assert (wide < value) == gains
        uppers = [eclipse.features(layers, m).upper(1e-6) for m in (larger, plain)]
        assert (uppers[0] < 0.95 * uppers[1]) == gains
        best = min(end.upper(1e-6) for end in eclipse.certified(layers, Effort(1), pairs=False))
        assert best <= min(uppers) * (1 + 1e-5)


def deep_mlp(seed: int) -> Made:
    """Where eigenvalues meet on the way down, in layer after layer."""
    torch.manual_seed(seed)
    layers = [part for _ in range(6) for part in (nn.Linear(30, 30), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(30, 10)), (30,)


@pytest.mark.parametrize("make", [random_mlp, random_conv, random_pooled, deep_mlp])
def test_rounding_does_not_move_a_bound_by_more_than_rounding(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines sum in another order: what descent finds must not depend on that."""
    graph = graph_of(*make(1))
    plain = network_bound(graph, bound="eclipse")
    rng, recursion = np.random.default_rng(0), descent._recursion

    def disturbed(layers: Sequence[Layer], parameters: Sequence[descent.Parameter], **how: Any) -> Recursion:
        moved = [replace(x, blocks=x.blocks * (1 + 1e-14 * rng.standard_normal(x.blocks.shape))) for x in layers]
        return recursion(moved, parameters, **how)

    monkeypatch.setattr(descent, "_recursion", disturbed)
    other = network_bound(graph, bound="eclipse")
    assert other.upper == pytest.approx(plain.upper, rel=1e-10)
    assert other.pairwise == pytest.approx(plain.pairwise, rel=1e-10)


def test_a_wrong_proposal_is_refused_or_sound() -> None:
    rng = np.random.default_rng(3)
    matrices = [rng.standard_normal(shape) for shape in ((5, 4), (6, 5), (3, 6))]
    layers = layers_in(relu_graph(matrices))
    patterns = [np.array([i >> j & 1 for j in range(5)]) for i in range(32)]
    seconds = [np.array([i >> j & 1 for j in range(6)]) for i in range(64)]
    truth = max(
        np.linalg.norm(matrices[2] @ (q[:, None] * matrices[1]) @ (p[:, None] * matrices[0]), 2)
        for p in patterns
        for q in seconds
    )
    refused = 0
    good = descent.fast(layers)[1]
    for _ in range(200):
        wrong = [m * np.exp(rng.normal(0, rng.choice([0.1, 1, 5]), len(m))) for m in good]
        try:
            assert eclipse.features(layers, wrong).upper(1e-6) >= truth
        except eclipse.Failed:
            refused += 1
    assert 0 < refused < 200
