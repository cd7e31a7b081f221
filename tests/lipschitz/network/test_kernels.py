"""Convolutions of one activation that are added up: the norm is that of the matrix, and rounding is in the error."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from radii.graph import Graph, to_module
from radii.graph.rules import Convolution
from radii.lipschitz import network_bound
from radii.lipschitz.network.kernels import Kernel
from tests.lipschitz.network.test_bound import graph_of

SHAPE = (4, 9, 7)


class Block(nn.Module):
    """Of RepVGG, as it is trained: two convolutions and, at stride 1, the input, each normalised, added up."""

    def __init__(self, stride: int = 1, *, normalised: bool = False) -> None:
        super().__init__()
        self.three, self.one = nn.Conv2d(4, 4, 3, stride, 1), nn.Conv2d(4, 4, 1, stride)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) if normalised else nn.Identity() for _ in range(3))
        for norm in self.norms:
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.data.uniform_(-2, 2)
                assert norm.running_var is not None
                norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.norms[0](self.three(x)), self.norms[1](self.one(x))]
        return sum([self.norms[2](x), *parts] if self.three.stride[0] == 1 else parts[1:], parts[0])


class Minus(nn.Module):
    """The input, or another convolution, less a convolution."""

    def __init__(self, convolution: nn.Module, other: nn.Module | None = None, factor: float = 1.0) -> None:
        super().__init__()
        self.convolution, self.other, self.factor = convolution, other or nn.Identity(), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(x) - self.factor * self.convolution(x)


LINEAR: dict[str, Callable[[], nn.Module]] = {
    "RepVGG": Block,
    "RepVGG with normalisation": lambda: Block(normalised=True),
    "RepVGG with a stride": lambda: Block(2),
    "less a convolution": lambda: Minus(nn.Conv2d(4, 4, 3, padding=1)),
    "less a part of one": lambda: Minus(nn.Conv2d(4, 4, 3, padding=1), factor=0.3),
    "less a depthwise one": lambda: Minus(nn.Conv2d(4, 4, 3, padding=1, groups=4)),
    "less a dilated one, in groups": lambda: Minus(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)),
    "other kernels, with a stride": lambda: Minus(nn.Conv2d(4, 6, (1, 5), 2, (0, 2)), nn.Conv2d(4, 6, 3, 2, 1)),
    "a kernel that misses the edge": lambda: Minus(nn.Conv2d(4, 4, 1, 3), nn.Conv2d(4, 4, 3, 3, (0, 1))),
    "less the mean around": lambda: Minus(nn.AvgPool2d(3, 1, 1)),
}


def matrix_of(graph: Graph) -> np.ndarray:
    """(outputs, inputs) of a linear network, by the images of the unit vectors."""
    module = to_module(graph).double()
    units = torch.eye(int(np.prod(graph.input_shape)), dtype=torch.float64).reshape(-1, *graph.input_shape)
    with torch.no_grad():
        made: np.ndarray = (module(units) - module(units[:1] * 0)).numpy()
    return made.reshape(len(units), -1).T


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_added_up_has_the_norm_of_the_matrix(name: str) -> None:
    torch.manual_seed(0)
    graph = graph_of(nn.Sequential(LINEAR[name](), nn.Flatten()).eval(), SHAPE)
    norm = np.linalg.norm(matrix_of(graph), 2)
    assert norm * (1 - 1e-12) <= network_bound(graph).upper <= norm * (1 + 1e-6)


def slopes(graph: Graph) -> float:
    """The largest norm of the Jacobian at some points."""
    module = to_module(graph).double()
    points = torch.randn(50, 1, *graph.input_shape, dtype=torch.float64)
    jacobians = [torch.func.jacrev(lambda x: module(x)[0])(x).flatten(1) for x in points]
    return max(float(torch.linalg.matrix_norm(jacobian, 2)) for jacobian in jacobians)


def test_other_rules_see_one_convolution() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Block(), nn.ReLU(), Block(normalised=True), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3))
    graph = graph_of(network.eval(), (4, 3, 3))
    product, averaged, eclipse = (
        network_bound(graph, bound=bound).upper for bound in ("product", "combettes-pesquet", "eclipse")
    )
    assert slopes(graph) <= eclipse < 0.8 * product
    assert slopes(graph) <= averaged < product


def test_a_branch_with_an_activation_is_none_of_these() -> None:
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 1, 2, padding=1))
    graph = graph_of(nn.Sequential(Minus(branch), nn.Flatten()), (1, 3, 3))
    assert slopes(graph) <= network_bound(graph).upper


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9])
def test_rounding_is_within_the_error(scale: float) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 3, 3, 3, 3))
    factors = rng.standard_normal(3)
    first = Kernel.of(Convolution(a, (5, 5), (1, 1), ((1, 1),) * 2, (1, 1))).times(factors)
    second = Kernel.of(Convolution(b * scale, (5, 5), (1, 1), ((1, 1),) * 2, (1, 1)))
    made = first.plus(second, -1.0).plus(Kernel.identity((3, 5, 5)), 1.0)
    exact = np.array([Fraction(x) for x in a.ravel()], dtype=object).reshape(a.shape)
    exact = exact * np.array([Fraction(x) for x in factors], dtype=object).reshape(3, 1, 1, 1)
    exact = exact - np.array([Fraction(x) for x in (b * scale).ravel()], dtype=object).reshape(a.shape)
    for i in range(3):
        exact[i, i, 1, 1] += 1
    away = np.array([abs(Fraction(x) - y) for x, y in zip(made.weight.ravel(), exact.ravel(), strict=True)])
    error = [Fraction(x) for x in made.error.ravel()]
    assert all(x <= y for x, y in zip(away, error, strict=True))
    assert made.error.max() <= 4e-15 * (1 + scale) and made.lost() >= made.error.max()


def test_sums_of_float32_are_exact() -> None:
    weight = np.random.default_rng(2).standard_normal((4, 2, 3, 3)).astype(np.float32)
    kernel = Kernel.of(Convolution(weight, (5, 5), (1, 1), ((1, 1),) * 2, (1, 1), groups=2))
    made = kernel.plus(Kernel.identity((4, 5, 5)), 1.0)
    assert made.groups == 2 and made.lost() < 1e-300 and made.is_plain()
