"""Rules that look at several layers at once: sound against sampled slopes, tight where a closed form is known."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from radii.graph import OPERATORS, Graph, Node, normalized, to_module, with_cones
from radii.graph.rules import Slope
from radii.lipschitz import eclipse, margin_radius, matrix_norm, network_bound
from radii.lipschitz.chain import Walk, chains
from radii.lipschitz.layers import layers_of
from radii.lipschitz.norms import node_norms
from tests.lipschitz.sharp import ConvSll, Cpl, Sll, same, steepest_jacobians
from tests.lipschitz.test_network import Residual, graph_of

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.npz"
BOUNDS = ("product", "combettes-pesquet", "eclipse", "auto")
ACTIVATIONS = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.Softplus, nn.Hardswish),
    *(lambda: nn.LeakyReLU(0.2), lambda: nn.LeakyReLU(-0.4), lambda: nn.PReLU(init=0.3), nn.ReLU6, nn.Hardsigmoid),
)


def random_mlp(seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    widths = [int(w) for w in rng.integers(2, 14, rng.integers(3, 6))]
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()]
        layers[-2].weight.data *= 10.0 ** rng.uniform(-2, 2)
    return nn.Sequential(*layers[:-1], nn.Linear(widths[-1], 3)), (widths[0],)


def random_conv(seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    side = int(rng.integers(9, 13))  # large enough that the torus is chosen, not the explicit matrix
    layers: list[nn.Module] = []
    channels, pixels = 2, side
    for _ in range(rng.integers(1, 4)):
        kernel, pads, out = int(rng.integers(1, 5)), int(rng.integers(0, 3)), int(rng.integers(8, 12))
        layers += [nn.Conv2d(channels, out, kernel, padding=pads), ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()]
        channels, pixels = out, pixels + 2 * pads - kernel + 1
    if rng.random() < 0.5:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 6)]
    else:
        layers += [nn.Flatten(), nn.Linear(channels * pixels**2, 6)]
    return nn.Sequential(*layers, ACTIVATIONS[rng.integers(len(ACTIVATIONS))](), nn.Linear(6, 3)), (2, side, side)


def random_residual(seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    act = [ACTIVATIONS[i]() for i in rng.integers(len(ACTIVATIONS), size=3)]
    if seed % 2:
        body = [same(2, 4), act[0], same(4, 2)]
        return nn.Sequential(Residual(*body), act[1], ConvSll(2, 5, 3), nn.Flatten(), nn.Linear(98, 3)), (2, 7, 7)
    body = [nn.Linear(8, 5), act[0], nn.Linear(5, 8)]
    return nn.Sequential(Residual(*body), act[1], Sll(8, 9), Cpl(8, 4, act[2]), nn.Linear(8, 3)), (8,)


def random_strided(seed):
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


@pytest.mark.parametrize("make", [random_mlp, random_conv, random_residual, random_strided])
@pytest.mark.parametrize("seed", range(3))
def test_no_slope_exceeds_any_bound(make, seed):
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


@pytest.mark.parametrize("make", [random_mlp, random_conv])
def test_no_pair_of_inputs_moves_further(make):
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


def relu_graph(matrices):
    """An MLP of given matrices, without biases."""
    nodes = []
    for i, matrix in enumerate(matrices):
        nodes.append(Node(OPERATORS["Gemm"](np.asarray(matrix, dtype=np.float64), None), (f"a{i}",), f"b{i}", 2 * i))
        nodes.append(Node(OPERATORS["Relu"](), (f"b{i}",), f"a{i + 1}", 2 * i + 1))
    return Graph.build("a0", (np.shape(matrices[0])[1],), f"b{len(matrices) - 1}", nodes[:-1])


def test_the_truth_by_enumeration_is_never_above_and_not_far_below():
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


def test_combettes_and_pesquet_by_hand():
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((5, 4)), rng.standard_normal((6, 5)), rng.standard_normal((3, 6))
    norm = lambda m: np.linalg.norm(m, 2)  # noqa: E731
    expected = (norm(c @ b @ a) + norm(c @ b) * norm(a) + norm(c) * norm(b @ a) + norm(c) * norm(b) * norm(a)) / 4
    found = network_bound(relu_graph([a, b, c]), bound="combettes-pesquet")
    assert expected * (1 - 1e-13) <= found.upper <= expected * (1 + 1e-5)
    assert found.rule == "combettes-pesquet"


def layers_in(graph):
    """The layers of a graph that is one chain."""
    rules = [node.operator.lipschitz(*graph.input_shapes(node)) for node in graph.nodes]
    (chain,) = chains(Walk(graph, rules, node_norms(graph, rules, 1e-9)[0]))
    (layers,) = layers_of(chain)
    return layers


def test_eclipse_fast_by_hand():
    rng = np.random.default_rng(2)
    matrices = [rng.standard_normal(shape) for shape in ((5, 4), (6, 5), (3, 6))]
    graph = relu_graph(matrices)
    layers = layers_in(graph)
    found = eclipse.features(layers, eclipse.fast(layers)).upper(1e-9)
    x = np.eye(4)
    for w in matrices[:-1]:
        m = w @ np.linalg.inv(x) @ w.T
        factor = 2 / np.linalg.eigvalsh(m).max()
        x = factor * np.eye(len(m)) - factor**2 / 4 * m
    expected = np.sqrt(np.linalg.eigvalsh(matrices[-1] @ np.linalg.inv(x) @ matrices[-1].T).max())
    assert expected * (1 - 1e-12) <= found <= expected * (1 + 1e-6)
    assert network_bound(graph, bound="eclipse").upper <= expected * (1 + 1e-6)  # descent only lowers it


def test_descent_ends_where_it_gains_nothing():
    rng = np.random.default_rng(13)
    matrices = [rng.standard_normal(shape) for shape in ((12, 8), (12, 12), (3, 12))]
    steps = []
    for weights in ([np.eye(8)] * 3, matrices):
        values = []

        def objective(final, values=values):
            values.append(float(eclipse.norm_of(final.detach())))
            return eclipse.norm_of(final)

        layers = layers_in(relu_graph(weights))
        found, start = (
            eclipse.features(layers, m) for m in (eclipse.descended(layers, objective, 20), eclipse.fast(layers))
        )
        assert found.upper(1e-6) <= start.upper(1e-6) * (1 + 1e-6)
        steps.append(len(values))
    assert steps[0] == eclipse.PATIENCE + 1 < steps[1]


def test_descent_is_for_networks_that_can_afford_it():
    small, large = ([np.eye(n)] * 3 for n in (8, 600))
    small, large = layers_in(relu_graph(small)), layers_in(relu_graph(large))
    assert eclipse.affordable_steps(small, 1) == eclipse.STEPS
    assert eclipse.affordable_steps(large, 1) < eclipse.PATIENCE  # ECLipsE-Fast alone, then
    alone, among = (eclipse.affordable_steps(layers_in(relu_graph([np.eye(128)] * 3)), count) for count in (1, 50))
    assert among < alone  # chains share the time


@pytest.mark.parametrize("make", [random_mlp, random_conv])
def test_rounding_does_not_move_a_bound_by_more_than_rounding(make, monkeypatch):
    """Two machines sum in another order: what descent finds must not depend on that."""
    graph = graph_of(*make(1))
    plain = network_bound(graph, bound="eclipse")
    generator = torch.Generator().manual_seed(0)
    recursion = eclipse._recursion

    def disturbed(layers, parameters):
        blocks = [1 + 1e-14 * torch.randn(x.blocks.shape, generator=generator, dtype=torch.float64) for x in layers]
        return recursion([replace(x, blocks=x.blocks * b) for x, b in zip(layers, blocks, strict=True)], parameters)

    monkeypatch.setattr(eclipse, "_recursion", disturbed)
    other = network_bound(graph, bound="eclipse")
    assert other.upper == pytest.approx(plain.upper, rel=1e-10)
    assert other.pairwise == pytest.approx(plain.pairwise, rel=1e-10)


def test_a_wrong_proposal_is_refused_or_sound():
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
    good = eclipse.fast(layers)
    for _ in range(200):
        wrong = [m * torch.from_numpy(np.exp(rng.normal(0, rng.choice([0.1, 1, 5]), len(m)))) for m in good]
        try:
            assert eclipse.features(layers, wrong).upper(1e-6) >= truth
        except eclipse.Failed:
            refused += 1
    assert 0 < refused < 200


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_lie_in_their_interval(activation):
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


def test_what_a_rule_cannot_treat_it_says():
    torch.manual_seed(10)
    network = nn.Sequential(nn.Linear(4, 4), nn.Hardtanh(), nn.Linear(4, 4))
    graph = graph_of(network, (4,))
    nodes = [*graph.nodes[:1], Node(OPERATORS["Abs"](), ("1",), "2", 1), Node(graph.nodes[2].operator, ("2",), "3", 2)]
    bound = network_bound(Graph.build("0", (4,), "3", nodes))
    assert any("eclipse" in note and "negative" in note for note in bound.notes)
    product = np.prod([matrix_norm(node.operator.weight).upper for node in (nodes[0], nodes[2])])
    assert bound.upper <= product * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1e30, 1e140])
def test_any_scale(scale):
    rng = np.random.default_rng(11)
    matrices = [rng.standard_normal((6, 5)) * scale, rng.standard_normal((6, 6)), rng.standard_normal((3, 6)) / scale]
    plain = [matrices[0] / scale, matrices[1], matrices[2] * scale]
    for name in BOUNDS:
        wild, tame = (network_bound(relu_graph(m), bound=name).upper for m in (matrices, plain))
        assert wild == pytest.approx(tame, rel=1e-6)


def test_degenerate_networks_fall_back():
    zero, one = np.zeros((4, 4)), np.eye(4)
    odd = [[zero, one, one], [one, zero, one], [one, one, zero], [one, one * 1e-320, one]]
    for matrices in (*odd, [1e200 * one, one, 1e-200 * one]):
        product = network_bound(relu_graph(matrices), bound="product")
        for name in BOUNDS:
            bound = network_bound(relu_graph(matrices), bound=name)
            assert 0 <= bound.upper <= product.upper * (1 + 1e-9)
            assert all(np.isfinite(bound.pairs(y)).all() and (bound.pairs(y) >= 0).all() for y in range(3))


def trained_on_digits(hidden, activation, seed=0):
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
        F.cross_entropy(network(x[:300]), y[:300]).backward()
        optimizer.step()
    return graph_of(network, (64,)), x[300:].double(), y[300:]


@pytest.mark.parametrize(
    ("hidden", "activation", "gain"), [((32,), nn.ReLU, 1.7), ((32, 24), nn.ReLU, 2.2), ((32, 24, 16), nn.GELU, 2.6)]
)
def test_radii_of_trained_networks(hidden, activation, gain):
    """Against sqrt(2) times the product of norms; and l2-PGD stays without success just inside of the radii."""
    graph, x, y = trained_on_digits(hidden, activation)
    module = to_module(graph, dtype=torch.float64)
    logits = module(x)
    assert (logits.argmax(1) == y).float().mean() > 0.85
    bound, plain = network_bound(graph), network_bound(graph, bound="product").upper * np.sqrt(2)
    radii = [found.radius for found in margin_radius(logits, bound, norms=x.norm(dim=1))]
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
