"""Orthogonal layers: Cayley's transform, and a truncated exponential (SOC)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from radii.layers.layer import SLACK, Affine, LipschitzLayer
from radii.layers.linear import WeightedLayer
from radii.layers.maps import Convolution, Dense, Size, mirrored, off_torus, on_torus, widened


def cayley(weight: Tensor) -> Tensor:
    """A matrix of the same shape (..., m, n) with orthonormal columns, or rows if n > m; complex ones too.

    With ``W = [U; V]``, U square, and ``A = U - U^H + V^H V``, it is ``[(I + A)^-1 (I - A); -2 V (I + A)^-1]``.
    (Trockman and Kolter, ICLR 2021, arXiv 2104.07167.)
    """
    m, n = weight.shape[-2:]
    if n > m:
        return cayley(weight.mH).mH
    upper, lower = weight[..., :n, :], weight[..., n:, :]
    skew = upper - upper.mH + lower.mH @ lower
    unit = torch.eye(n, dtype=weight.dtype, device=weight.device)
    right = torch.cat([unit - skew, -2 * lower], dim=-2)
    # I - A commutes with (I + A)^-1, so that both rows are solved for at once
    solved: Tensor = torch.linalg.solve(unit + skew, right, left=False)
    return solved


class Cayley(WeightedLayer):
    """Cayley's transform of a weight: an isometry, or the adjoint of one where there are fewer outputs than inputs.

    Dense, or a circular convolution of stride 1, each of whose Fourier blocks is transformed; its kernel is then as
    large as the image. As a last layer: see :class:`radii.layers.UnitRows`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel_size: int | None = None,
        bias: bool = True,
        slack: float = SLACK,
    ) -> None:
        super().__init__(inputs, outputs, kernel_size=kernel_size, padding_mode="circular", bias=bias, slack=slack)

    def scaled(self) -> Tensor:
        return cayley(widened(self.weight))

    def _blocks(self, pixels: Size) -> Tensor:
        """(frequencies of the last two axes, outputs, inputs)."""
        with torch.autocast(self.weight.device.type, enabled=False):
            response = mirrored(on_torus(widened(self.weight), pixels))
            blocks: Tensor = torch.fft.rfft2(response).permute(2, 3, 0, 1)
            return cayley(blocks) / (1 + self.slack)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.on, Dense):
            return super().forward(x)
        pixels = tuple(x.shape[-2:])
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft2(widened(x))
            made = torch.einsum("hwoi,bihw->bohw", self._blocks(pixels), spectrum)
            y: Tensor = torch.fft.irfft2(made, s=pixels).to(x.dtype)
        return y if self.bias is None else y + self.bias[:, None, None]

    def plain(self, size: Size) -> nn.Module:
        if isinstance(self.on, Dense):
            return super().plain(size)
        pixels = size[-2:]
        response = torch.fft.irfft2(self._blocks(pixels).permute(2, 3, 0, 1), s=pixels)
        return Affine(self.on, off_torus(mirrored(response)), self.bias)


class SOC(LipschitzLayer):
    """Skew orthogonal layer: ``sum_{i < terms} A^i/i!`` of a skew-symmetric A with ``||A|| <= 1``.

    Off an orthogonal map by at most ``1/terms!``. A is ``W - W^T``, which is skew under zero padding too, over a bound
    on its norm where that is more than 1. (Singla and Feizi, ICML 2021, arXiv 2105.11417.)

    Args:
        features: values on the last axis, or channels of images.
        terms: of the exponential series.
        steps: Gram products of the bound.
    """

    def __init__(
        self,
        features: int,
        *,
        kernel_size: int | None = None,
        padding_mode: str = "zeros",
        terms: int = 14,
        steps: int = 6,
        bias: bool = True,
        slack: float = SLACK,
    ) -> None:
        super().__init__(kernel_size, padding_mode=padding_mode, slack=slack)
        self.terms, self.steps = terms, steps
        self.weight = nn.Parameter(torch.empty(self.on.shape(features, features)))
        nn.init.orthogonal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None

    def skew(self, size: Size) -> Tensor:
        """A, as a weight, for inputs of that size."""
        with torch.autocast(self.weight.device.type, enabled=False):
            wide = widened(self.weight)
            transposed = wide.transpose(0, 1).flip(list(range(2, wide.ndim)))
            skew = wide - transposed
            return skew / self.on.norm(skew, size, self.steps).clamp(min=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self._series(x, self.skew(tuple(x.shape[1:])).to(self.weight.dtype)) / (1 + self.slack)
        return y if self.bias is None else y + self.on.per_output(self.bias)

    def _series(self, x: Tensor, skew: Tensor) -> Tensor:
        term = total = x
        for i in range(1, self.terms):
            term = self.on.apply(term, skew) / i
            total = total + term
        return total

    def plain(self, size: Size) -> nn.Module:
        skew = self.skew(size)
        if isinstance(self.on, Dense):
            unit = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
            return Affine(self.on, self._series(unit, skew).mT / (1 + self.slack), self.bias)
        assert isinstance(self.on, Convolution)
        count = size[0] if self.on.circular else math.prod(size)
        impulses = torch.zeros(count, math.prod(size), dtype=skew.dtype, device=skew.device)
        impulses[:, :: math.prod(size) // count].fill_diagonal_(1)
        responses = self._series(impulses.reshape(count, *size), skew) / (1 + self.slack)
        if self.on.circular:
            return Affine(self.on, off_torus(mirrored(responses.transpose(0, 1))), self.bias)
        # what zero padding cuts off differs from pixel to pixel: no convolution any more
        bias = None if self.bias is None else self.bias.repeat_interleave(math.prod(size[1:]))
        dense = Affine(Dense(), responses.flatten(1).mT, bias)
        return nn.Sequential(nn.Flatten(), dense, nn.Unflatten(1, size))
