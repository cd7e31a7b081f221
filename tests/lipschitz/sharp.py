"""Networks for the rules that look at several layers at once, and the steepest slopes that a search finds in them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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
            jacobian = torch.autograd.functional.jacobian(lambda v: module(v[None])[0], x).flatten(1)
            found.append(jacobian)
            x = x + 0.5 * torch.linalg.svd(jacobian, full_matrices=False)[2][0].reshape(shape)
    return found


def same(channels, out, kernel=3, **settings):
    """A convolution whose output is as large as its input."""
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, **settings)
