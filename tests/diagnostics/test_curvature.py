"""The report on the loss's curvature, against explicit Hessians by another way of differentiating."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from radii.diagnostics import curvature
from radii.diagnostics.closed import input_lambda_max, last_layer, softmax_curvature, softmax_lambda_max
from radii.diagnostics.errors import (
    CannotDiagnose,
    ConstantNetwork,
    InTraining,
    NoLabels,
    NonFiniteLoss,
    NoWeights,
    OneClass,
)
from radii.diagnostics.jacobian import jacobian
from radii.diagnostics.objective import Objective
from radii.graph import Graph, to_module
from radii.graph.ops.activation import Relu
from radii.graph.ops.linear import Linear
from radii.lipschitz import NonFiniteWeights
from tests.local.networks import chain, graph_of


def conv_net() -> nn.Module:
    """2,932 weights: convolutions, BatchNorm with running statistics, GELU, a maximum."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(64, 20),
        nn.Tanh(),
        nn.Linear(20, 16),
        nn.Tanh(),
        nn.Linear(16, 4),
    ).double()
    with torch.no_grad():
        network(torch.randn(64, 1, 4, 4, dtype=torch.float64) + 0.3)
    return network.eval()


def data(shape: tuple[int, ...], classes: int, count: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((count, *shape), generator=generator, dtype=torch.float64)
    return x, torch.randint(0, classes, (count,), generator=generator)


def explicit(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian as a Jacobian of a Jacobian, all rows at once."""
    names, values = zip(*network.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(flat: Tensor) -> Tensor:
        parts = {
            name: part.view(value.shape)
            for name, part, value in zip(names, torch.split(flat, sizes), values, strict=True)
        }
        return nn.functional.cross_entropy(functional_call(network, parts, (x,)), y)

    point = torch.cat([value.detach().reshape(-1) for value in values])
    return jacrev(jacrev(loss), chunk_size=256)(point).detach()


def loss_of(network: nn.Module, label: Tensor, x: Tensor) -> Tensor:
    return nn.functional.cross_entropy(network(x), label)


def test_three_thousand_weights_against_the_explicit_hessian() -> None:
    network = conv_net()
    x, y = data((1, 4, 4), 4)
    matrix = explicit(network, x, y)
    values = torch.linalg.eigvalsh(matrix)
    report = curvature(network, x, y, steps=120, probes=30, layer_steps=60)
    size = float(values[-1] - values[0])
    assert report.weights == len(matrix) > 2500
    assert abs(report.lambda_max.value - float(values[-1])) < 1e-8 * size
    assert abs(report.lambda_min.value - float(values[0])) < 1e-8 * size
    low, high = report.trace.interval
    assert low <= float(matrix.trace()) <= high
    plain = (2 * (matrix.square().sum() - matrix.diagonal().square().sum()) / report.trace.probes).sqrt()
    assert 0 < report.trace.error < float(plain) / 2  # Hutchinson's, without a basis
    low, high = report.frobenius_squared.interval
    assert low <= float(matrix.square().sum()) * (1 + 1e-9) and float(matrix.square().sum()) * (1 - 1e-9) <= high
    weights = torch.cat([value.detach().reshape(-1) for value in network.parameters()])
    assert report.scale_free.quadratic == pytest.approx(float(weights @ matrix @ weights), rel=1e-10)
    scaled = weights.abs()[:, None] * matrix * weights.abs()
    assert report.scale_free.lambda_max.value == pytest.approx(float(torch.linalg.eigvalsh(scaled)[-1]), rel=1e-8)
    start = 0
    for layer, (name, value) in zip(report.layers, network.named_parameters(), strict=True):
        block = matrix[start : start + value.numel(), start : start + value.numel()]
        start += value.numel()
        assert layer.name == name and layer.norm == pytest.approx(float(value.detach().norm()))
        assert layer.lambda_max is not None
        assert layer.lambda_max.value == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-8)
        assert abs(layer.trace.value - float(block.trace())) <= 5 * layer.trace.error + 1e-9
    # the loss is smooth: in the limit the second difference is the curvature
    assert report.kinks[-1].ratio == pytest.approx(1, abs=1e-2)


def test_a_graph_and_its_module_are_one_network() -> None:
    graph = chain(np.random.default_rng(0), (6, 8, 5, 3))
    x, y = data((6,), 3)
    report = curvature(graph, x, y, steps=200)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).double().eval()
    linear = [node.operator for node in graph.nodes if isinstance(node.operator, Linear)]
    with torch.no_grad():
        layers = [part for part in network if isinstance(part, nn.Linear)]
        for layer, operator in zip(layers, linear, strict=True):
            assert operator.bias is not None
            layer.weight.copy_(torch.tensor(operator.weight))
            layer.bias.copy_(torch.tensor(operator.bias))
    values = torch.linalg.eigvalsh(explicit(network, x, y))
    assert report.lambda_max.value == pytest.approx(float(values[-1]), abs=1e-12)
    assert report.lambda_min.value == pytest.approx(float(values[0]), abs=1e-12)
    assert report.trace.value == pytest.approx(float(values.sum()), abs=1e-11) and report.trace.error == 0
    assert [layer.name for layer in report.layers][:2] == ["0 Linear weight", "0 Linear bias"]
    assert report.last_layer is not None
    assert report.layers[-2].trace.value == pytest.approx(report.last_layer.trace, abs=1e-12)
    assert "multiplied into the layer before" in report.network


def test_batches_add_up() -> None:
    network = conv_net()
    x, y = data((1, 4, 4), 4, count=13)
    vector = torch.randn(Objective(network, x, y).size, dtype=torch.float64)
    whole, parts = (Objective(network, x, y, batch_size=size) for size in (13, 4))
    assert torch.allclose(whole.product(vector), parts.product(vector), rtol=1e-10, atol=1e-14)
    assert torch.allclose(whole.gradient(), parts.gradient(), rtol=1e-10, atol=1e-14)
    assert torch.allclose(torch.stack(list(whole.sample_gradients())).mean(0), whole.gradient(), atol=1e-14)
    assert whole.loss(whole.point) == pytest.approx(parts.value, rel=1e-13)


def test_last_layer_and_inputs_in_closed_form() -> None:
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3, bias=False)).double().eval()
    x, y = data((5,), 3)
    report = curvature(network, x, y, steps=100, layer_steps=40)
    matrix = explicit(network, x, y)[-21:, -21:]
    assert report.last_layer is not None and report.inputs is not None
    assert report.last_layer.trace == pytest.approx(float(matrix.trace()), abs=1e-13)
    top = float(torch.linalg.eigvalsh(matrix)[-1])
    assert top <= report.last_layer.lambda_max_bound <= report.last_layer.mean_lambda_max
    assert report.last_layer.mean_lambda_max <= report.last_layer.half_mean_square
    for i in range(len(x)):
        own = torch.linalg.eigvalsh(jacrev(jacrev(partial(loss_of, network, y[i])))(x[i]).detach())[-1]
        assert float(report.inputs[i]) == pytest.approx(float(own), abs=1e-12)
    largest = float(torch.linalg.matrix_norm(jacobian(network, x), 2).max())
    assert float(report.inputs.max()) <= largest**2 / 2


def test_the_largest_eigenvalue_of_the_softmax() -> None:
    logits = 4 * torch.randn(100, 6, dtype=torch.float64)
    logits[0], logits[1], logits[2, 0] = 0, torch.tensor([3.0, 3, -9, -9, -9, -9]), 60
    found = softmax_lambda_max(logits.softmax(1))
    assert torch.allclose(found, torch.linalg.eigvalsh(softmax_curvature(logits))[:, -1], atol=1e-15)
    rows = torch.eye(6, dtype=torch.float64).expand(100, 6, 6)
    assert torch.allclose(input_lambda_max(logits, rows), found, atol=1e-15)
    assert last_layer(logits, torch.ones(100, 1, dtype=torch.float64)).lambda_max_bound <= 0.5


def test_kinks_are_seen() -> None:
    """At the kink itself the second difference grows as 1/h; a smooth loss has the ratio 1."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 2)).double().eval()
    x, y = data((2,), 2, count=40)
    ratios = [kink.ratio for kink in curvature(network, x, y).kinks]
    assert ratios[-1] == pytest.approx(1, abs=0.2)
    smooth = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 2)).double().eval()
    ratio = curvature(smooth, x, y).kinks[1].ratio
    assert ratio == pytest.approx(1, abs=1e-3)


def test_report_is_json_and_the_same_again() -> None:
    network = conv_net()
    x, y = data((1, 4, 4), 4)
    one, two = (curvature(network, x, y, steps=8, probes=3).to_json() for _ in range(2))
    assert one == two and one["products"] == 8 + 3 + 8 + 1


def linear_graph(weight: np.ndarray) -> Graph:
    return graph_of((weight.shape[1],), [(Linear(weight), ("x",), "y")])


def broken(network: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    return network


X, Y = data((5,), 3)
PLAIN = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()


@pytest.mark.parametrize(
    ("problem", "network", "y"),
    [
        (NoLabels, PLAIN, None),
        (OneClass, nn.Linear(5, 1).eval(), Y),
        (ConstantNetwork, linear_graph(np.zeros((3, 5), np.float32)), Y),
        (NonFiniteWeights, broken(nn.Linear(5, 3).eval(), float("nan")), Y),
        (NonFiniteLoss, broken(nn.Linear(5, 3).double().eval(), 1e308), Y),
        (InTraining, nn.Sequential(nn.Linear(5, 3), nn.Dropout()).train(), Y),
        (NoWeights, graph_of((5,), [(Relu(), ("x",), "y")]), Y % 5),
        (ValueError, PLAIN, Y + 3),
        (ValueError, PLAIN, Y[:-1]),
    ],
)
def test_bad_input_is_named(problem: type[Exception], network: nn.Module | Graph, y: Tensor | None) -> None:
    x = X * 1e5 if problem is NonFiniteLoss else X
    with pytest.raises(problem) as caught:
        curvature(network, x, y)
    assert isinstance(caught.value, ValueError) and str(caught.value)
    assert isinstance(caught.value, CannotDiagnose) == issubclass(problem, CannotDiagnose)


def test_the_network_stays_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    curvature(network, X, Y, steps=4, probes=2)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    graph = chain(np.random.default_rng(1), (5, 4, 3))
    assert curvature(graph, X, Y, steps=4).loss == pytest.approx(
        float(nn.functional.cross_entropy(to_module(graph, dtype=torch.float64)(X), Y)), rel=1e-14
    )
