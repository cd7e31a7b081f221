"""Bounds against the worst slopes that activations may have anywhere, each entry on its own.

No rule for chains knows which slopes meet at an input: a bound must hold for any choice between the ends. With weights
of one sign and the steepest slopes such a choice comes near the bound, so one that is too small shows.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radii.bounds import BoundName
from radii.lipschitz import network_bound
from tests.lipschitz.network.test_bound import graph_of

Made = tuple[nn.Module, tuple[int, ...]]


class Gate(nn.Module):
    """An activation, or in its place a slope for each entry."""

    def __init__(self, function: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.function, self.low, self.high = function, low, high
        self.slopes: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.function(x) if self.slopes is None else x * self.slopes
        return made

    def open(self, shape: tuple[int, ...], seed: int) -> None:
        share = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.slopes = self.low + (self.high - self.low) * (share > 0.3)
        self.slopes.requires_grad_()


def gates(index: int) -> list[Gate]:
    """Of four kinds, in turn; the ends of a slope are inside those of its function."""
    kinds = [
        (nn.ReLU(), 0.0, 1.0),
        (nn.GELU(), -0.128, 1.128),
        (nn.LeakyReLU(0.2), 0.2, 1.0),
        (nn.SiLU(), -0.0998, 1.0998),
    ]
    return [Gate(*kinds[(index + i) % 4]) for i in range(2)]


def networks(index: int) -> list[Made]:
    torch.manual_seed(index)
    circular = {"padding_mode": "circular"}

    def around(*front: nn.Module, pixels: int, shape: tuple[int, ...] = (2, 8, 8)) -> Made:
        one, two = gates(index)
        layers = [front[0], one, *front[1:], two, nn.Flatten(), nn.Linear(pixels, 5)]
        return nn.Sequential(*layers), shape

    return [
        around(nn.Conv2d(2, 4, 3, padding=1, **circular), nn.Conv2d(4, 3, 3, padding=1, **circular), pixels=192),  # type: ignore[arg-type]
        around(nn.Conv2d(2, 4, 3, 2, padding=1, **circular), nn.Conv2d(4, 3, 3, padding=1, **circular), pixels=48),  # type: ignore[arg-type]
        around(nn.Conv2d(2, 4, 3, stride=2, padding=2), nn.Conv2d(4, 6, 2, dilation=2, groups=2), pixels=54),
        around(nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), pixels=64),
        around(nn.Conv2d(2, 4, 3, padding=2), nn.AvgPool2d(2, 3, ceil_mode=True), pixels=64),
        around(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.Conv2d(3, 2, 4, stride=3), pixels=50, shape=(2, 8, 8)),
        around(nn.Linear(900, 12), nn.Linear(12, 9), pixels=9, shape=(900,)),
    ]


def steepest(network: nn.Module, shape: tuple[int, ...], seed: int) -> tuple[float, np.ndarray]:
    """The largest norm met, and of each difference of outputs, where slopes are moved to the end that gains."""
    network = network.double()
    found = [module for module in network.modules() if isinstance(module, Gate)]
    x = torch.zeros(1, *shape, dtype=torch.float64)
    for gate in found:
        gate.register_forward_hook(lambda gate, given, _: gate.open(tuple(given[0].shape[1:]), seed))
    network(x)
    for gate in found:
        gate._forward_hooks.clear()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    largest, pairs = 0.0, np.zeros((5, 5))
    for _ in range(6):
        with torch.no_grad():
            matrix = network(basis).T
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        largest = max(largest, float(values[0]))
        pairs = np.maximum(pairs, (matrix[:, None] - matrix).norm(dim=2).numpy())
        made = left[:, 0] @ network(right[0].reshape(1, *shape))[0]
        slopes = [gate.slopes for gate in found if gate.slopes is not None]
        for gate, gain in zip(found, torch.autograd.grad(made, slopes), strict=True):
            gate.slopes = torch.where(gain >= 0, gate.high, gate.low).double().requires_grad_()
    return largest, pairs


@pytest.mark.parametrize(("index", "kind"), [*itertools.product(range(2), range(7))])
def test_no_choice_of_slopes_exceeds_a_bound(index: int, kind: int) -> None:
    network, shape = networks(index)[kind]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() if index == 0 else parameter)
    graph = graph_of(network, shape)
    largest, pairs = steepest(network, shape, index)
    names: tuple[BoundName, ...] = ("product", "combettes-pesquet", "eclipse", "auto")
    for name, budget in itertools.product(names, (1, 1024)):
        bound = network_bound(graph, bound=name, budget=budget)
        assert largest <= bound.upper * (1 + 1e-5), (name, budget)
        assert bound.pairwise is None or (pairs <= bound.pairwise * (1 + 1e-5)).all(), (name, budget)
    if index == 0:
        assert bound.upper < 1.6 * largest  # or a bound that is too small would not show
