"""Bands of frequencies: against explicit projections, singular values and all orders of players."""

import copy
import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev

from radii.diagnostics import frequency
from radii.diagnostics.bands import Bands, band_of
from radii.diagnostics.errors import ConstantNetwork, NoBands, NoLabels, NonFiniteLoss, OneClass, TooManyBands
from radii.diagnostics.jacobian import jacobian, power_norms
from radii.diagnostics.shapley import exact, sampled, shapley
from radii.graph import normalized, to_module
from tests.diagnostics.test_curvature import data
from tests.local.networks import chain, image


def projection(bands: Bands, band: int) -> Tensor:
    """``P_b`` as a matrix of flat signals of one channel."""
    units = torch.eye(math.prod(bands.size), dtype=torch.float64).reshape(-1, *bands.size)
    return bands.only(units, band).flatten(1).T.contiguous()


@pytest.mark.parametrize(
    ("size", "count"), [((6, 6), 4), ((5, 8), 3), ((9,), 5), ((4, 4, 4), 3), ((2, 1), 2), ((8,), 12)]
)
def test_bands_are_an_orthogonal_partition(size: tuple[int, ...], count: int) -> None:
    bands = Bands(size, count)
    parts = [projection(bands, band) for band in range(count)]
    identity = torch.eye(math.prod(size), dtype=torch.float64)
    assert torch.allclose(sum(parts, torch.zeros_like(identity)), identity, atol=1e-14)
    for part, width in zip(parts, bands.sizes, strict=True):
        assert torch.allclose(part @ part, part, atol=1e-14) and torch.allclose(part, part.T, atol=1e-14)
        assert float(part.trace()) == pytest.approx(width, abs=1e-12)
    assert torch.allclose(parts[0], torch.full_like(identity, 1 / len(identity)), atol=1e-14)


def test_rings_have_equal_widths_and_hold_their_upper_edge() -> None:
    size, count = (7, 12), 5
    fy, fx = np.meshgrid(np.fft.fftfreq(7), np.fft.fftfreq(12), indexing="ij")
    radius = np.hypot(fy, fx)
    found = band_of(size, count)
    width = radius.max() / (count - 1)
    inside = (radius > (found - 1) * width - 1e-12) & (radius <= found * width + 1e-12)
    assert inside[radius > 0].all() and found[0, 0] == 0 and (found[radius > 0] > 0).all()
    assert found.max() == count - 1


NETWORKS = {
    "zero padding": (nn.Conv2d(2, 4, 3, padding=1), (2, 6, 6)),
    "circular": (nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), (2, 6, 6)),
    "strided": (nn.Conv2d(2, 4, 3, stride=2), (2, 6, 6)),
    "signal": (nn.Conv1d(1, 3, 4), (1, 12)),
    "vector": (nn.Linear(10, 6), (10,)),
}


def network(name: str, seed: int = 0) -> tuple[nn.Module, tuple[int, ...]]:
    given, shape = NETWORKS[name]
    layer = copy.deepcopy(given)
    outputs = layer(torch.zeros(1, *shape)).numel()
    torch.manual_seed(seed)
    return nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(outputs, 3)).double().eval().apply(fresh), shape


def fresh(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d):
        part.reset_parameters()


@pytest.mark.parametrize("name", NETWORKS)
def test_first_layer_against_its_explicit_matrix(name: str) -> None:
    module, shape = network(name)
    x, _ = data(shape, 3, count=3)
    bands = Bands(shape[1:] or shape, 4)
    report = frequency(module, x, torch.arange(3), bands=4)
    found = report.first_layer
    inputs = math.prod(shape)
    units = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *shape)
    assert isinstance(module, nn.Sequential)
    matrix = (module[0](units) - module[0](torch.zeros_like(units[:1]))).flatten(1).T.detach()
    assert found is not None and found.exact
    assert found.norm == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-12)
    channels = shape[0] if len(shape) > 1 else 1
    for band, value in enumerate(found.bands):
        part = torch.kron(torch.eye(channels, dtype=torch.float64), projection(bands, band))
        assert value == pytest.approx(float(torch.linalg.matrix_norm(matrix @ part, 2)), rel=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_jacobian_norms(name: str) -> None:
    module, shape = network(name)
    x, _ = data(shape, 3, count=4)
    bands = Bands(shape[1:] or shape, 4)
    rows = jacobian(module, x)
    explicit = jacrev(lambda given: module(given).sum(0))(x).transpose(0, 1).detach()
    assert torch.allclose(rows, explicit, atol=1e-14)
    channels = shape[0] if len(shape) > 1 else 1
    parts = [torch.kron(torch.eye(channels, dtype=torch.float64), projection(bands, band)) for band in range(4)]
    truth = torch.stack([torch.linalg.matrix_norm(rows.flatten(2) @ part, 2) for part in parts], dim=1)
    whole = torch.linalg.matrix_norm(rows.flatten(2), 2)
    signals = x if x.ndim > 2 else x[:, None]
    flat: Callable[[Tensor], Tensor] = module if x.ndim > 2 else nn.Sequential(nn.Flatten(), module)
    assert torch.allclose(bands.norms(rows.reshape(4, 3, *signals.shape[1:])), truth, rtol=1e-10, atol=1e-13)
    lower, norm = power_norms(flat, signals, bands, torch.Generator().manual_seed(0))
    assert bool((lower <= truth * (1 + 1e-12)).all()) and torch.allclose(lower, truth, rtol=0.02, atol=1e-12)
    assert bool((norm <= whole * (1 + 1e-12)).all())
    assert bool((truth.max(1).values <= whole * (1 + 1e-12)).all())
    assert bool((whole <= truth.square().sum(1).sqrt() * (1 + 1e-12)).all())


def test_shares_are_the_mean_over_all_orders() -> None:
    values = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(4, 5, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        present = 0
        for player in order:
            expected[player] += (values[present | 1 << player] - values[present]) / 24
            present |= 1 << player
    assert torch.allclose(shapley(values), expected, atol=1e-14)
    assert torch.allclose(shapley(values).sum(0), values[-1] - values[0], atol=1e-14)

    def game(present: Tensor) -> Tensor:
        index = (present.long() * 2 ** torch.arange(4)).sum(1)
        return values.gather(0, index[None])[0]

    assert torch.allclose(exact(game, 5, 4), expected.T, atol=1e-14)
    orders = 4000
    found = sampled(game, 5, 4, orders, torch.Generator().manual_seed(1))
    # each share is a mean of so many values within the range of the game: 6 standard errors at the least
    spread = float(values.max() - values.min()) / math.sqrt(orders)
    assert float((found - expected.T).abs().max()) < 6 * spread
    assert torch.allclose(found.sum(1), values[-1] - values[0], atol=1e-12)
    with pytest.raises(ValueError, match="players"):
        shapley(values[:3])


@pytest.mark.parametrize("game", ["accuracy", "log_p"])
def test_the_report(game: str) -> None:
    module, shape = network("zero padding")
    x, y = data(shape, 3, count=20)
    report = frequency(module, x, y, bands=4, game=game)  # type: ignore[arg-type]
    logits = module(x).detach()
    right = (logits.argmax(1) == y).double()
    score = right if game == "accuracy" else logits.log_softmax(1).gather(1, y[:, None])[:, 0]
    assert report.accuracy == float(right.mean()) and report.value == pytest.approx(float(score.mean()))
    assert sum(band.share for band in report.bands) == pytest.approx(report.value - report.baseline, abs=1e-12)
    assert sum(band.energy for band in report.bands) == pytest.approx(1)
    assert [band.frequencies for band in report.bands] == Bands((6, 6), 4).sizes
    low = x - x.mean((2, 3), keepdim=True)  # without band 0
    assert report.bands[0].accuracy_without == float((module(low).argmax(1) == y).double().mean())
    assert report.bands[-1].high == pytest.approx(math.sqrt(0.5)) and report.bands[0].high == 0
    assert report.jacobian_exact and report.shares_exact and report.first_layer is not None
    assert json.loads(json.dumps(report.to_json()))["bands"][1]["low"] == 0


def test_a_graph_with_a_normalised_input() -> None:
    """The first layer stands behind the subtraction of a mean and the division by a spread."""
    graph = normalized(image(np.random.default_rng(0)), [0.1, 0.2], [0.5, 0.25])
    x, y = data(graph.input_shape, 4, count=6)
    report = frequency(graph, x, y, bands=9)
    assert not report.shares_exact and report.first_layer is not None and report.first_layer.name == "0 Conv"
    module = to_module(graph, dtype=torch.float64)
    assert report.jacobian_max == pytest.approx(
        float(torch.linalg.matrix_norm(jacobian(module, x).flatten(2), 2).max()), rel=1e-10
    )


class ChannelsLast(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inner(x.movedim(-1, 1))
        return made


def test_channels_may_stand_last_or_be_none() -> None:
    module, shape = network("zero padding")
    x, y = data(shape, 3, count=5)
    one = frequency(module, x, y, bands=4)
    two = frequency(ChannelsLast(module).eval(), x.movedim(1, -1), y, bands=4, channels="last")
    assert [band.share for band in two.bands] == [band.share for band in one.bands]
    assert two.jacobian_max == pytest.approx(one.jacobian_max, rel=1e-12) and two.first_layer is None
    plain = nn.Sequential(nn.Flatten(), nn.Linear(30, 3)).double().eval()
    image_of_one, single = data((1, 5, 6), 3, count=5)[0], frequency
    none = single(plain, image_of_one[:, 0], y, bands=4, channels="none")
    assert none == single(plain, image_of_one, y, bands=4) and none.bands[3].frequencies > 0
    with pytest.raises(ValueError, match="channels"):
        single(plain, image_of_one, y, channels="middle")  # type: ignore[arg-type]


def test_a_large_first_layer_is_looked_at_by_its_products() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 24 * 24, 2)).eval()
    x, y = data((1, 24, 24), 2, count=2)
    found = frequency(module, x, y, bands=3).first_layer
    assert found is not None and not found.exact
    weight = module[0].weight.detach().double()  # type: ignore[operator]
    assert isinstance(weight, Tensor)
    above = torch.fft.fft2(weight, s=(64, 64)).abs().square().sum((0, 1)).max().sqrt()  # one input channel, any size
    assert 0.9 * float(above) <= found.norm <= float(above) * 1.01
    assert max(found.bands) <= found.norm * 1.001


def test_many_classes_are_bounded_from_below() -> None:
    graph = chain(np.random.default_rng(0), (12, 20, 70))
    x, y = data((12,), 70, count=5)
    report = frequency(graph, x, y, bands=3)
    module = to_module(graph, dtype=torch.float64)
    whole = torch.linalg.matrix_norm(jacobian(module, x), 2)
    assert not report.jacobian_exact
    assert 0.99 * float(whole.max()) <= report.jacobian_max <= float(whole.max()) * (1 + 1e-12)


def test_bad_input_is_named() -> None:
    module, shape = network("zero padding")
    x, y = data(shape, 3, count=4)
    for problem, given, labels, asked in (
        (NoLabels, x, None, {}),
        (TooManyBands, x, y, {"bands": 9, "shares": "exact"}),
        (NoBands, x, y, {"bands": 1}),
        (ValueError, x, y, {"game": "chess"}),
        (ValueError, x[:0], y[:0], {}),
        (NonFiniteLoss, x * 1e308, y, {}),
    ):
        with pytest.raises(problem):
            frequency(module, given, labels, **asked)
    pixel = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)).eval()
    with pytest.raises(NoBands, match="1 x 1 pixels"):
        frequency(pixel, x[:, :, :1, :1], y)
    with pytest.raises(OneClass):
        frequency(nn.Sequential(nn.Flatten(), nn.Linear(72, 1)).eval(), x, y)
    layer = nn.Linear(72, 3)
    nn.init.zeros_(layer.weight)
    constant = nn.Sequential(nn.Flatten(), layer).eval()
    with pytest.raises(ConstantNetwork):
        frequency(constant, x, y)
