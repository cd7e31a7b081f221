"""What a step of SGD does to layers' norms: against finite differences, explicit matrices and listed batches."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radii.diagnostics import Objective, sgd_step
from radii.diagnostics.errors import ConstantNetwork
from radii.diagnostics.layers import circular_layer, dense_layer, layers_of
from radii.diagnostics.singular import Decomposed, Iterated, LinearLayer
from radii.lipschitz.convolution.geometry import PaddingMode
from tests.diagnostics.test_curvature import data
from tests.local.networks import chain, image


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv(padding_mode: PaddingMode, stride: int = 1) -> nn.Module:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, padding_mode=padding_mode, stride=stride), nn.ReLU(), nn.Flatten()
    )
    return nn.Sequential(*network, nn.Linear(3 * (5 if stride == 1 else 3) ** 2, 3)).double().eval()


def conv_layer(padding_mode: PaddingMode, stride: int = 1) -> LinearLayer:
    x, y = data((2, 5, 5), 3, count=4)
    return layers_of(Objective(conv(padding_mode, stride), x, y))[0]


LAYERS = {
    "wide": dense_layer("w", draw(0, 4, 7)),
    "tall": dense_layer("w", draw(1, 6, 3)),
    "one row": dense_layer("w", draw(2, 1, 5)),
    "circular": conv_layer("circular"),
    "circular, 1-D": circular_layer("w", draw(3, 2, 3, 4), (9,)),
    "zeros": conv_layer("zeros"),
    "strided": conv_layer("zeros", 2),
    "reflect": conv_layer("reflect"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_slope_and_bend_are_derivatives(name: str) -> None:
    layer = LAYERS[name]
    change = draw(9, *layer.weight.shape)
    top = layer.top
    h = 2e-3 * min(1.0, top.gap * top.value)

    def norm(t: float) -> float:
        return float(torch.linalg.svdvals(layer.matrix(layer.weight + t * change))[0])

    # central differences of fourth order: h^4 times the next derivative, and rounding over h^2
    first = (8 * (norm(h) - norm(-h)) - (norm(2 * h) - norm(-2 * h))) / (12 * h)
    second = (16 * (norm(h) + norm(-h)) - (norm(2 * h) + norm(-2 * h)) - 30 * norm(0)) / (12 * h * h)
    assert top.value == pytest.approx(norm(0), rel=1e-13)
    assert top.along(change) == pytest.approx(first, rel=1e-8, abs=1e-9)
    assert top.bend(change) == pytest.approx(second, rel=1e-4, abs=1e-6)
    assert top.bend(change) >= 0


@pytest.mark.parametrize("name", ["wide", "tall", "zeros", "strided", "reflect"])
def test_a_large_layer_is_looked_at_by_its_products(name: str) -> None:
    """As if it were too large to be decomposed."""
    layer = LAYERS[name]
    whole, parts = Decomposed(layer), Iterated(layer)
    assert parts.value == pytest.approx(whole.value, rel=1e-12) and parts.gap == pytest.approx(whole.gap, abs=1e-10)
    assert torch.allclose(parts.slope, whole.slope, atol=1e-8)
    for seed in range(3):
        change = draw(20 + seed, *layer.weight.shape)
        assert parts.bend(change) == pytest.approx(whole.bend(change), rel=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_step_of_a_network_with_a_large_layer(stride: int) -> None:
    size = 56 // stride
    convolution = nn.Conv2d(1, 2, 3, padding=1, stride=stride)  # more outputs than inputs, or fewer
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(2 * size * size, 2)).eval()
    x, y = data((1, 56, 56), 2, count=2)
    objective = Objective(network, x, y)
    step = sgd_step(objective, eta=1e-3, batch_size=1, batches=4)
    layer = layers_of(objective)[0]
    assert not layer.small and layer.norm(layer.weight) == pytest.approx(layer.top.value, rel=1e-10)
    assert step.layers[0].kappa is None or step.layers[0].kappa > 0
    assert step.layers[0].noise_effect is not None and math.isfinite(step.layers[0].noise_effect.value)


@pytest.mark.parametrize("name", ["circular", "circular, 1-D"])
def test_a_circular_convolution_is_its_largest_block(name: str) -> None:
    """Against the explicit operator on the torus, whose largest singular value is double: f and -f."""
    layer = LAYERS[name]
    size = (5, 5) if name == "circular" else (9,)
    axes = tuple(range(1, 1 + len(size)))
    kernel = layer.weight.numpy()
    columns = []
    for unit in np.eye(kernel.shape[1] * math.prod(size)):
        x, y = unit.reshape(kernel.shape[1], *size), np.zeros((kernel.shape[0], *size))
        for tap in np.ndindex(*kernel.shape[2:]):
            shifted = np.roll(x, [-t for t in tap], axes)
            y += np.tensordot(kernel[(..., *tap)], shifted, 1)
        columns.append(y.ravel())
    values = np.linalg.svd(np.array(columns), compute_uv=False)
    assert layer.top.value == pytest.approx(values[0], rel=1e-12)
    assert values[1] == pytest.approx(values[0], rel=1e-12) and layer.top.gap > 1e-3


def test_the_prediction_is_right_to_the_third_order() -> None:
    """All 64 batches of a dense network with biases, for three sizes of steps."""
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()
    torch.manual_seed(5)
    for part in network:
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    x, y = data((3,), 3, count=8)
    objective = Objective(network, x, y)
    layers = layers_of(objective)
    samples = [objective.split(gradient) for gradient in objective.sample_gradients()]
    errors = []
    for eta in (0.04, 0.02, 0.01):
        step = sgd_step(objective, eta=eta, batch_size=2, batches=0)
        changes = [
            sum(
                math.log(layer.norm(layer.weight - eta * sum(samples[i][layer.name] for i in batch) / 2))
                - math.log(layer.top.value)
                for layer in layers
            )
            for batch in itertools.product(range(8), repeat=2)
        ]
        assert step.mean is not None
        errors.append(abs(float(np.mean(changes)) - step.mean))
        assert step.variance == pytest.approx(float(np.var(changes)), rel=0.1)
    assert errors[0] < 2 * 0.04**3 and errors[1] < errors[0] / 6 and errors[2] < errors[1] / 6


def test_a_figure_without_the_gap_agrees_where_there_is_one() -> None:
    x, y = data((2, 5, 5), 3, count=20)
    objective = Objective(conv("circular"), x, y)
    step = sgd_step(objective, eta=0.001, batch_size=4, batches=400)
    for layer in step.layers:
        assert layer.kappa is not None and layer.kappa > 0 and layer.noise_effect is not None
        expected = step.eta * (layer.kappa - layer.lambda_squared / 2)
        assert abs(layer.noise_effect.value - expected) < 5 * layer.noise_effect.error


def test_noise_falls_with_the_batch() -> None:
    x, y = data((3,), 3, count=10)
    objective = Objective(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)).eval(), x, y)
    one, four = (sgd_step(objective, eta=1e-3, batch_size=size, batches=0) for size in (1, 4))
    assert one.lambda_squared == pytest.approx(4 * four.lambda_squared, rel=1e-12)
    for a, b in zip(one.layers, four.layers, strict=True):
        assert a.kappa is not None and b.kappa is not None
        assert a.mu == b.mu and a.kappa == pytest.approx(4 * b.kappa, rel=1e-12)


def test_no_prediction_where_the_largest_values_are_near_each_other() -> None:
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3)).double().eval()
    assert isinstance(network[0], nn.Linear)
    with torch.no_grad():
        network[0].weight.copy_(torch.diag(torch.tensor([2.0, 2.0 - 1e-6, 1.0])))
    x, y = data((3,), 3, count=10)
    step = sgd_step(Objective(network, x, y), eta=0.1, batch_size=2, batches=16)
    assert step.mean is None and step.layers[0].kappa is None and step.layers[0].second is None
    assert step.layers[1].kappa is not None and step.noise_effect is not None
    assert step.layers[0].noise_effect is not None and math.isfinite(step.layers[0].noise_effect.value)


def test_a_graph_has_the_layers_of_its_module() -> None:
    rng = np.random.default_rng(0)
    for graph, count in ((chain(rng, (5, 6, 3)), 2), (image(rng), 3)):
        x, y = data(graph.input_shape, graph.num_classes, count=6)
        objective = Objective(graph, x, y)
        step = sgd_step(objective, eta=1e-4, batch_size=2, batches=0)
        assert len(step.layers) == count and step.mean is not None
        for layer, found in zip(layers_of(objective), step.layers, strict=True):
            gradient = objective.split(objective.gradient())[layer.name]
            h = 1e-6
            slope = (layer.norm(layer.weight - h * gradient) - layer.norm(layer.weight + h * gradient)) / (2 * h)
            assert found.mu == pytest.approx(slope / layer.top.value, rel=1e-5, abs=1e-8)


def test_bad_input_is_named() -> None:
    x, y = data((3,), 3)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    with pytest.raises(ValueError, match="positive"):
        sgd_step(Objective(network, x, y), eta=0.0, batch_size=2)
    with torch.no_grad():
        network[2].weight.zero_()  # type: ignore[operator]
        network[0].bias.fill_(1.0)  # type: ignore[operator]
    with pytest.raises(ConstantNetwork):
        sgd_step(Objective(network, x, y), eta=0.1, batch_size=2)
