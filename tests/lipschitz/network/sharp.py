"""Networks for the rules that look at several layers at once, and the steepest slopes that a search finds in them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from radii.graph import Graph, Node
from tests.lipschitz.network.operators import new_operator

Made = tuple[nn.Module, tuple[int, ...]]
"""A network and the shape of its input."""
Make = Callable[[int], Made]
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.Softplus, nn.Hardswish),
    *(lambda: nn.LeakyReLU(0.2), lambda: nn.LeakyReLU(-0.4), lambda: nn.PReLU(init=0.3), nn.ReLU6, nn.Hardsigmoid),
)


class Cpl(nn.Module):
    """``x - 2/||W||^2 W^T relu(W x + b)`` (Meunier et al., arXiv 2110.12690)."""

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, width) / width**0.5)
        self.bias = nn.Parameter(torch.randn(hidden))
        self.activation = activation
        norm = torch.linalg.matrix_norm(self.weight.detach().double(), 2)
        self.factor = nn.Parameter((2 / norm**2 * (1 - 1e-7)).float())

    def forward(self, x: Tensor) -> Tensor:
        return x - self.factor * self.activation(x @ self.weight.T + self.bias) @ self.weight


class Sll(nn.Module):
    """``x - 2 W^T diag(t) relu(W x + b)`` (Araujo et al., arXiv 2303.03169)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, width) / width**0.5)
        self.bias = nn.Parameter(torch.randn(hidden))
        q = torch.randn(hidden).exp()
        self.t = nn.Parameter(1 / ((self.weight @ self.weight.T).abs() * q / q[:, None]).sum(1).detach())

    def forward(self, x: Tensor) -> Tensor:
        return x - 2 * (self.t * torch.relu(x @ self.weight.T + self.bias)) @ self.weight


class ConvSll(nn.Module):
    """The same with a convolution: t sums the moduli of the kernel's autocorrelation."""

    def __init__(self, channels: int, hidden: int, kernel: int, lie: float = 1.0) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.randn(hidden, channels, kernel, kernel) / (channels**0.5 * kernel))
        self.bias = nn.Parameter(torch.randn(hidden))
        q = torch.randn(hidden).exp()
        products = F.conv2d(self.weight, self.weight, padding=kernel - 1).abs().sum((2, 3))
        self.t = nn.Parameter((lie / (products * q / q[:, None]).sum(1)).detach().reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(F.conv2d(x, self.weight, self.bias, padding=self.padding))
        return x - 2 * F.conv_transpose2d(self.t * hidden, self.weight, padding=self.padding)


def steepest_jacobians(module: nn.Module, shape: tuple[int, ...], *, starts: int = 3, steps: int = 8) -> list[Tensor]:
    """Jacobians (classes, inputs) met on walks along the steepest direction, from points near and far."""
    found = []
    for seed in range(starts):
        x = 3.0**seed * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for _ in range(steps):
            jacobian = torch.func.jacrev(lambda v: module(v[None])[0])(x).flatten(1)
            found.append(jacobian)
            x = x + 0.5 * torch.linalg.svd(jacobian, full_matrices=False)[2][0].reshape(shape)
    return found


def same(channels: int, out: int, kernel: int = 3, **settings: Any) -> nn.Module:
    """A convolution whose output is as large as its input."""
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, **settings)


def random_mlp(seed: int) -> Made:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    widths = [int(w) for w in rng.integers(2, 14, rng.integers(3, 6))]
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()]
        layers[-2].weight.data *= 10.0 ** rng.uniform(-2, 2)
    return nn.Sequential(*layers[:-1], nn.Linear(widths[-1], 3)), (widths[0],)


def random_conv(seed: int) -> Made:
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


def random_pooled(seed: int) -> Made:
    """Convolutions and average pools, most of them with strides, and a head that reads few numbers of many pixels."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    shape: tuple[int, ...] = (int(rng.integers(1, 9)), *rng.integers(18, 23, 2).tolist())
    body, given = nn.Sequential(), shape
    for i in range(rng.integers(2, 4)):
        kernel, stride, out = (int(rng.integers(1, 4)) for _ in range(3))
        out, stride = out + 3, stride if i else min(stride, 2)
        body += nn.Sequential(
            nn.Conv2d(shape[0], out, kernel, stride, kernel // 2), ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()
        )
        shape = tuple(body(torch.zeros(1, *given)).shape[1:])
        if min(shape[1:]) > 3 and rng.random() < 0.4:
            body.append(nn.AvgPool2d(2))
            shape = (shape[0], *(n // 2 for n in shape[1:]))
    pool = (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(min(2, *shape[1:])), nn.Identity())[rng.integers(3)]
    flat = pool(torch.zeros(1, *shape)).numel()
    return nn.Sequential(*body, pool, nn.Flatten(), nn.Linear(flat, 5), nn.Softplus(), nn.Linear(5, 3)), given


def relu_graph(matrices: list[np.ndarray]) -> Graph:
    """An MLP of given matrices, without biases."""
    nodes = []
    for i, matrix in enumerate(matrices):
        nodes.append(Node(new_operator("Gemm", np.asarray(matrix, dtype=np.float64), None), (f"a{i}",), f"b{i}", 2 * i))
        nodes.append(Node(new_operator("Relu"), (f"b{i}",), f"a{i + 1}", 2 * i + 1))
    return Graph.build("a0", (np.shape(matrices[0])[1],), f"b{len(matrices) - 1}", nodes[:-1])
