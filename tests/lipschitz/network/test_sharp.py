"""Rules that look at several layers at once: sound against sampled slopes, tight where a closed form is known."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from radii.bounds import BoundName
from radii.graph import Graph, Node, normalized, to_module, with_cones
from radii.graph.ops.linear import Gemm
from radii.graph.rules import Slope
from radii.lipschitz import margin_radius, matrix_norm, network_bound
from tests.lipschitz.network.operators import new_operator
from tests.lipschitz.network.sharp import (
    ACTIVATIONS,
    ConvSll,
    Cpl,
    Made,
    Make,
    Sll,
    random_conv,
    random_mlp,
    random_pooled,
    relu_graph,
    same,
    steepest_jacobians,
)
from tests.lipschitz.network.test_bound import Residual, graph_of

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "digits.npz"
BOUNDS: tuple[BoundName, ...] = ("product", "combettes-pesquet", "eclipse", "auto")


def random_residual(seed: int) -> Made:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    act = [ACTIVATIONS[i]() for i in rng.integers(len(ACTIVATIONS), size=3)]
    if seed % 2:
        body = [same(2, 4), act[0], same(4, 2)]
        return nn.Sequential(Residual(*body), act[1], ConvSll(2, 5, 3), nn.Flatten(), nn.Linear(98, 3)), (2, 7, 7)
    body = [nn.Linear(8, 5), act[0], nn.Linear(5, 8)]
    return nn.Sequential(Residual(*body), act[1], Sll(8, 9), Cpl(8, 4, act[2]), nn.Linear(8, 3)), (8,)


def random_strided(seed: int) -> Made:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ), (1, 16, 16)


@pytest.mark.parametrize("make", [random_mlp, random_conv, random_pooled, random_residual, random_strided])
@pytest.mark.parametrize("seed", range(3))
def test_no_slope_exceeds_any_bound(make: Make, seed: int) -> None:
    network, shape = make(seed)
    graph = graph_of(network, shape)
    if len(shape) == 3 and seed % 3 == 0:
        graph = normalized(graph, 0.4, [0.5 + 0.1 * c for c in range(shape[0])])
    jacobians = steepest_jacobians(to_module(graph, dtype=torch.float64), shape, starts=2, steps=5)
    uppers = {}
    for name in BOUNDS:
        bound = network_bound(graph, bound=name)
        uppers[name] = bound.upper
        for jacobian in jacobians:
            assert torch.linalg.matrix_norm(jacobian, 2) <= bound.upper
            slopes = (jacobian[:, None] - jacobian).norm(dim=2).numpy()
            assert (slopes <= np.stack([bound.pairs(y) for y in range(3)])).all()
    assert uppers["auto"] == min(uppers.values())


@pytest.mark.parametrize("make", [random_mlp, random_conv, random_pooled])
def test_no_pair_of_inputs_moves_further(make: Make) -> None:
    """Secants, not tangents: pairs found by ascent on the quotient itself."""
    for seed in range(20, 22):
        network, shape = make(seed)
        graph = graph_of(network, shape)
        bound, module = network_bound(graph), to_module(graph, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn((16, *shape), generator=generator, dtype=torch.float64)
        lengths = 10.0 ** torch.linspace(-3, 1, 16, dtype=torch.float64).reshape(-1, *[1] * len(shape))
        step = torch.randn((16, *shape), generator=generator, dtype=torch.float64) * lengths
        for _ in range(15):
            a, b = x.clone().requires_grad_(), step.clone().requires_grad_()
            quotient = (module(a + b) - module(a)).norm(dim=1) / b.flatten(1).norm(dim=1)
            assert (quotient.detach() <= bound.upper).all()
            up_x, up_step = torch.autograd.grad(quotient.log().sum(), (a, b))
            scale = step.flatten(1).norm(dim=1).reshape(-1, *[1] * len(shape))
            x = x + 0.1 * F.normalize(up_x.flatten(1)).reshape(x.shape)
            step = step + 0.1 * scale * F.normalize(up_step.flatten(1)).reshape(x.shape)


def test_the_truth_by_enumeration_is_never_above_and_not_far_below() -> None:
    """All activation patterns of one hidden layer: the largest is the constant of the class of such networks."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(10):
        w, v = rng.standard_normal((6, 4)), rng.standard_normal((3, 6))
        patterns = np.stack([np.array([i >> j & 1 for j in range(6)]) for i in range(64)])
        products = np.einsum("kh,ph,hn->pkn", v, patterns, w)
        truth = np.linalg.norm(products, 2, axis=(1, 2)).max()
        pairs = np.linalg.norm(products[:, :, None] - products[:, None], axis=3).max(0)
        bound = network_bound(relu_graph([w, v]))
        assert truth <= bound.upper
        assert (pairs <= np.stack([bound.pairs(y) for y in range(3)])).all()
        ratios.append(bound.upper / truth)
    assert np.median(ratios) < 1.15


def test_combettes_and_pesquet_by_hand() -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((5, 4)), rng.standard_normal((6, 5)), rng.standard_normal((3, 6))

    def norm(m: np.ndarray) -> float:
        return float(np.linalg.norm(m, 2))

    expected = (norm(c @ b @ a) + norm(c @ b) * norm(a) + norm(c) * norm(b @ a) + norm(c) * norm(b) * norm(a)) / 4
    found = network_bound(relu_graph([a, b, c]), bound="combettes-pesquet")
    assert expected * (1 - 1e-13) <= found.upper <= expected * (1 + 1e-5)
    assert found.rule == "combettes-pesquet"


def test_what_gathers_all_pixels_is_one_matrix() -> None:
    """Where all ReLU are on the slope is the product of the layers, the first of which is orthogonal."""
    torch.manual_seed(13)
    convolution, first, last = nn.Conv2d(4, 4, 1), nn.Linear(676, 32), nn.Linear(32, 3)
    nn.init.orthogonal_(convolution.weight)
    w, v = (layer.weight.detach().double().numpy() for layer in (first, last))
    body = [convolution, nn.ReLU(), nn.Flatten(), first]
    for layers, matrix in ((body, w), ([*body, nn.ReLU(), last], v @ w)):
        graph = graph_of(nn.Sequential(*layers), (4, 13, 13))
        for name in BOUNDS:
            bound = network_bound(graph, bound=name)
            assert np.linalg.norm(matrix, 2) * (1 - 1e-7) <= bound.upper
            for y, row in enumerate(matrix):
                assert (np.linalg.norm(matrix - row, axis=1) * (1 - 1e-7) <= bound.pairs(y)).all()


@pytest.mark.parametrize(
    ("activation", "steepest"),
    [(lambda: nn.LeakyReLU(-0.4), 1.0), (nn.GELU, 1.128904145), (nn.SiLU, 1.099839320), (nn.Mish, 1.088498161)],
)
def test_slopes_below_0_behind_what_gathers_all_pixels(activation: Callable[[], nn.Module], steepest: float) -> None:
    """Where all ReLU are on and the hidden unit is steepest the norms multiply: no bound may be smaller."""
    torch.manual_seed(12)
    layers: list[Any] = [nn.Conv2d(4, 4, 1), nn.Linear(676, 1), nn.Linear(1, 3)]
    nn.init.orthogonal_(layers[0].weight)
    norms = [float(np.linalg.norm(layer.weight.detach().double().flatten(1).numpy(), 2)) for layer in layers]
    truth = steepest * float(np.prod(norms))
    network = nn.Sequential(layers[0], nn.ReLU(), nn.Flatten(), layers[1], activation(), layers[2])
    graph = graph_of(network, (4, 13, 13))
    for name in BOUNDS:
        assert truth * (1 - 1e-7) <= network_bound(graph, bound=name).upper
    assert network_bound(graph).upper <= truth * 1.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_lie_in_their_interval(activation: Callable[[], nn.Module]) -> None:
    graph = with_cones(graph_of(nn.Sequential(nn.Linear(2, 2), activation()), (2,)))
    for node in graph.nodes:
        rule = node.operator.lipschitz(*graph.input_shapes(node))
        if not isinstance(rule, Slope) or rule.interval is None:
            continue
        x = torch.cat([torch.linspace(-9, 9, 40001), torch.tensor([-1e4, 1e4])]).double().reshape(-1, 1).expand(-1, 2)
        x = x.clone().requires_grad_()
        arrays = {name: torch.from_numpy(np.array(array)).double() for name, array in node.operator.arrays().items()}
        (slopes,) = torch.autograd.grad(node.operator.run([x], arrays).sum(), x)
        low, high = rule.interval
        assert low - 1e-12 <= slopes.min() < low + 1e-3
        assert high - 1e-3 < slopes.max() <= high + 1e-12


def test_what_a_rule_cannot_treat_it_says() -> None:
    torch.manual_seed(10)
    network = nn.Sequential(nn.Linear(4, 4), nn.Hardtanh(), nn.Linear(4, 4))
    graph = graph_of(network, (4,))
    first, last = graph.nodes[0].operator, graph.nodes[2].operator
    nodes = [*graph.nodes[:1], Node(new_operator("Abs"), ("1",), "2", 1), Node(last, ("2",), "3", 2)]
    bound = network_bound(Graph.build("0", (4,), "3", nodes))
    assert any("eclipse" in note and "negative" in note for note in bound.notes)
    assert isinstance(first, Gemm) and isinstance(last, Gemm)
    product = matrix_norm(first.weight).upper * matrix_norm(last.weight).upper
    assert bound.upper <= product * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1e30, 1e140])
def test_any_scale(scale: float) -> None:
    rng = np.random.default_rng(11)
    matrices = [rng.standard_normal((6, 5)) * scale, rng.standard_normal((6, 6)), rng.standard_normal((3, 6)) / scale]
    plain = [matrices[0] / scale, matrices[1], matrices[2] * scale]
    for name in BOUNDS:
        wild, tame = (network_bound(relu_graph(m), bound=name).upper for m in (matrices, plain))
        assert wild == pytest.approx(tame, rel=1e-6)


def test_degenerate_networks_fall_back() -> None:
    zero, one = np.zeros((4, 4)), np.eye(4)
    odd = [[zero, one, one], [one, zero, one], [one, one, zero], [one, one * 1e-320, one]]
    for matrices in (*odd, [1e200 * one, one, 1e-200 * one]):
        product = network_bound(relu_graph(matrices), bound="product")
        for name in BOUNDS:
            bound = network_bound(relu_graph(matrices), bound=name)
            assert 0 <= bound.upper <= product.upper * (1 + 1e-9)
            assert all(np.isfinite(bound.pairs(y)).all() and (bound.pairs(y) >= 0).all() for y in range(3))


def trained_on_digits(
    hidden: tuple[int, ...], activation: Callable[[], nn.Module], seed: int = 0
) -> tuple[Graph, torch.Tensor, torch.Tensor]:
    """An MLP trained on two thirds of the held-out digits of the example; the graph, and the other third."""
    torch.manual_seed(seed)
    with np.load(DIGITS) as file:
        x, y = torch.from_numpy(file["x"]).flatten(1), torch.from_numpy(file["y"])
    widths = [64, *hidden, 10]
    layers = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), activation())][:-1]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(network(x[:300]), y[:300]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return graph_of(network, (64,)), x[300:].double(), y[300:]


@pytest.mark.parametrize(
    ("hidden", "activation", "gain"), [((32,), nn.ReLU, 1.7), ((32, 24), nn.ReLU, 2.2), ((32, 24, 16), nn.GELU, 2.6)]
)
def test_radii_of_trained_networks(hidden: tuple[int, ...], activation: Callable[[], nn.Module], gain: float) -> None:
    """Against sqrt(2) times the product of norms; and l2-PGD stays without success just inside of the radii."""
    graph, x, y = trained_on_digits(hidden, activation)
    module = to_module(graph, dtype=torch.float64)
    logits = module(x)
    assert (logits.argmax(1) == y).float().mean() > 0.85
    bound, plain = network_bound(graph), network_bound(graph, bound="product").upper * np.sqrt(2)
    radii = [found.radius or 0.0 for found in margin_radius(logits, bound, norms=x.norm(dim=1))]
    assert all(radii)
    top = logits.topk(2, dim=1).values
    ratio = np.median(radii) / np.median(((top[:, 0] - top[:, 1]) / plain).numpy())
    assert ratio >= gain
    reach, winner = torch.tensor(radii)[:, None] * (1 - 1e-9), logits.argmax(1)
    delta = torch.zeros_like(x)
    own = F.one_hot(winner, 10).bool()
    for _ in range(40):
        delta.requires_grad_()
        scores = module(x + delta)
        assert (scores.argmax(1) == winner).all()
        others = scores.masked_fill(own, -torch.inf).max(1).values
        (gradient,) = torch.autograd.grad((others - scores[own]).sum(), delta)
        delta = delta.detach() + reach / 5 * F.normalize(gradient)
        delta = delta * (reach / delta.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1)
