"""Residual layers ``x - 2 W^T diag(1/T) relu(W x + b)``, 1-Lipschitz wherever ``W W^T <= diag(T)``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radii.layers.layer import SLACK, LipschitzLayer
from radii.layers.maps import LinearMap, Size, widened
from radii.layers.rescaling import DENSE, reciprocal, row_bound


def residual(x: Tensor, weight: Tensor, bias: Tensor | None, bound: Tensor, on: LinearMap = DENSE) -> Tensor:
    """``x - 2 W^T diag(1/T) relu(W x + b)``, where 1/0 is 0.

    Args:
        x: (batch, ..., inputs), or (batch, inputs, height, width).
        weight: (hidden, inputs), or (hidden, inputs, height, width).
        bias: (hidden,).
        bound: T, (hidden,) or a scalar.
        on: how the weight acts.
    """
    factor = 2 * reciprocal(bound).expand(weight.shape[0])
    return _residual(x, weight, bias, factor, on)


def _residual(x: Tensor, weight: Tensor, bias: Tensor | None, factor: Tensor, on: LinearMap) -> Tensor:
    hidden = torch.relu(on.apply(x, weight, bias))
    return x - on.adjoint(hidden * on.per_output(factor), weight, tuple(x.shape[1:]))


class ResidualLayer(LipschitzLayer):
    """What CPL and SLL share.

    Args:
        features: values on the last axis, or channels of images.
        hidden: units, or channels, between W and its transpose; unless said, as many.
        bias: whether there is b.
    """

    def __init__(
        self,
        features: int,
        hidden: int | None = None,
        *,
        kernel_size: int | None = None,
        stride: int = 1,
        padding_mode: str = "zeros",
        bias: bool = True,
        slack: float = SLACK,
    ) -> None:
        super().__init__(kernel_size, stride=stride, padding_mode=padding_mode, slack=slack)
        hidden = features if hidden is None else hidden
        self.weight = nn.Parameter(torch.empty(self.on.shape(hidden, features)))
        nn.init.orthogonal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(hidden)) if bias else None

    def bound(self, size: Size) -> Tensor:
        """T, (hidden,) or a scalar, for inputs of that size; without the slack."""
        raise NotImplementedError

    def _bound(self, size: Size) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.bound(size) * (1 + self.slack)

    def forward(self, x: Tensor) -> Tensor:
        bound = self._bound(tuple(x.shape[1:])).to(self.weight.dtype)
        return residual(x, self.weight, self.bias, bound, self.on)

    def plain(self, size: Size) -> nn.Module:
        factor = 2 * reciprocal(self._bound(size)).expand(self.weight.shape[0])
        return PlainResidual(self.on, self.weight, self.bias, factor)


class CPL(ResidualLayer):
    """Convex potential layer: T is the square of a bound on the spectral norm of W.

    (Meunier et al., ICML 2022, arXiv 2110.12690; there the norm is estimated from below by power iteration, which does
    not prove anything. Here it is :func:`radii.lipschitz.gram_norm`, which lies above it, of a torus that holds the
    layer.)

    Args:
        steps: Gram products; the bound is at most ``rank^(2^-(steps+1))`` too large.
    """

    def __init__(self, features: int, hidden: int | None = None, *, steps: int = 6, **settings: object) -> None:
        super().__init__(features, hidden, **settings)  # type: ignore[arg-type]
        self.steps = steps

    def bound(self, size: Size) -> Tensor:
        return self.on.norm(widened(self.weight), size, self.steps).square()


class SLL(ResidualLayer):
    """SDP-based Lipschitz layer: T is a sum of moduli of ``W W^T`` for each hidden unit, weighted by trainable q.

    Valid for images of any size. (Araujo et al., ICLR 2023, arXiv 2303.03169.)

    Args:
        steps: 1: as in the paper; more: spectral rescaling, tighter and slower.
    """

    def __init__(self, features: int, hidden: int | None = None, *, steps: int = 1, **settings: object) -> None:
        super().__init__(features, hidden, **settings)  # type: ignore[arg-type]
        self.steps = steps
        self.log_q = nn.Parameter(torch.zeros(self.weight.shape[0]))

    def bound(self, size: Size) -> Tensor:
        return row_bound(widened(self.weight), self.on, log_q=widened(self.log_q), steps=self.steps)


class PlainResidual(nn.Module):
    """A residual layer whose factors ``2/T`` are numbers.

    They stay apart from the weight: a file whose second weight had them in it, rounded, would not be the transpose of
    the first one any more.
    """

    def __init__(self, on: LinearMap, weight: Tensor, bias: Tensor | None, factor: Tensor) -> None:
        super().__init__()
        self.on = on
        self.weight = nn.Parameter(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach())
        self.factor = nn.Parameter(factor.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return _residual(x, self.weight, self.bias, self.factor, self.on)
