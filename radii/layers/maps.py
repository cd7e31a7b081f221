"""The linear maps that layers are made of: dense, or a convolution of odd kernel with ``same`` padding.

One weight stands for a map W and its adjoint W^T, so that a layer needs to know neither which of the two it has, nor
how it pads. Sizes are those of one input: (features,), or (channels, height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from radii.lipschitz.dense.gram import gram_norm

Size = tuple[int, ...]
PADDING_MODES = ("zeros", "circular")


class LinearMap(Protocol):
    """How a weight (outputs, inputs, ...) acts."""

    def shape(self, outputs: int, inputs: int) -> Size:
        """That of the weight."""
        ...

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``W x + b``."""
        ...

    def adjoint(self, y: Tensor, weight: Tensor, size: Size) -> Tensor:
        """``W^T y``, for inputs of that size."""
        ...

    def output_gram(self, weight: Tensor) -> Tensor:
        """``W W^T`` as a weight of this kind, where nothing is cut off at borders."""
        ...

    def input_gram(self, weight: Tensor) -> Tensor:
        """``W^T W`` in the same way; of a stride, without it."""
        ...

    def squared(self, gram: Tensor) -> Tensor:
        """The square of a symmetric one."""
        ...

    def norm(self, weight: Tensor, size: Size, steps: int) -> Tensor:
        """At least the spectral norm on inputs of that size, rounding aside; differentiable."""
        ...

    def per_output(self, values: Tensor) -> Tensor:
        """Values (outputs,) in a shape that multiplies outputs."""
        ...


class Dense:
    """On the last axis of (..., inputs)."""

    def shape(self, outputs: int, inputs: int) -> Size:
        return outputs, inputs

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.linear(x, weight, bias)

    def adjoint(self, y: Tensor, weight: Tensor, size: Size) -> Tensor:
        return functional.linear(y, weight.mT)

    def output_gram(self, weight: Tensor) -> Tensor:
        return weight @ weight.mT

    def input_gram(self, weight: Tensor) -> Tensor:
        return weight.mT @ weight

    def squared(self, gram: Tensor) -> Tensor:
        return gram @ gram

    def norm(self, weight: Tensor, size: Size, steps: int) -> Tensor:
        return gram_norm(weight, steps=steps)

    def per_output(self, values: Tensor) -> Tensor:
        return values


class Convolution:
    """On (batch, channels, height, width), padded so that stride 1 keeps the size.

    Args:
        kernel_size: odd.
        stride: of circular padding it divides height and width.
        padding_mode: ``zeros`` or ``circular``.
    """

    def __init__(self, kernel_size: int, *, stride: int = 1, padding_mode: str = "zeros") -> None:
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size must be odd, so that padding is the same on both sides, not {kernel_size}")
        if stride < 1:
            raise ValueError(f"stride must be at least 1, not {stride}")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, not {padding_mode!r}")
        self.kernel_size, self.stride, self.circular = kernel_size, stride, padding_mode == "circular"

    def shape(self, outputs: int, inputs: int) -> Size:
        return outputs, inputs, self.kernel_size, self.kernel_size

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        pads = _reach(weight)
        if not self.circular:
            return functional.conv2d(x, weight, bias, stride=self.stride, padding=pads)
        return functional.conv2d(around(x, pads), weight, bias, stride=self.stride)

    def adjoint(self, y: Tensor, weight: Tensor, size: Size) -> Tensor:
        pads, s = _reach(weight), self.stride
        if not self.circular:
            rest = [n - (o - 1) * s - 1 for n, o in zip(size[-2:], y.shape[-2:], strict=True)]  # beyond the last stride
            return functional.conv_transpose2d(y, weight, stride=s, padding=pads, output_padding=rest)
        margins = [-(-pad // s) for pad in pads]  # outputs beyond the border whose windows reach into it
        crops = [margin * s + pad for margin, pad in zip(margins, pads, strict=True)]
        return functional.conv_transpose2d(around(y, margins), weight, stride=s, padding=crops, output_padding=s - 1)

    def output_gram(self, weight: Tensor) -> Tensor:
        # outputs lie `stride` apart, and so do the shifts between them
        reach = (weight.shape[-1] - 1) // self.stride * self.stride
        return functional.conv2d(weight, weight, padding=reach)[..., :: self.stride, :: self.stride]

    def input_gram(self, weight: Tensor) -> Tensor:
        columns = weight.transpose(0, 1)
        return functional.conv2d(columns, columns, padding=weight.shape[-1] - 1)

    def squared(self, gram: Tensor) -> Tensor:
        return functional.conv2d(gram, gram, padding=gram.shape[-1] - 1)

    def norm(self, weight: Tensor, size: Size, steps: int) -> Tensor:
        pixels = size[-2:]
        if self.circular:
            return gram_norm(on_torus(weight, pixels), steps=steps, torus=pixels)
        # with as many zeros between an image and its copy as the kernel reaches, none of them is seen
        torus = [max(n + reach, 2 * reach + 1) for n, reach in zip(pixels, _reach(weight), strict=True)]
        return gram_norm(weight, steps=steps, torus=torus)

    def per_output(self, values: Tensor) -> Tensor:
        return values[:, None, None]


def linear_map(kernel_size: int | None, *, stride: int = 1, padding_mode: str = "zeros") -> LinearMap:
    """A convolution, or without a kernel size a dense map."""
    if kernel_size is None:
        if stride != 1:
            raise ValueError("a dense layer has no stride; name a kernel_size for a convolution")
        return Dense()
    return Convolution(kernel_size, stride=stride, padding_mode=padding_mode)


def around(x: Tensor, margins: Sequence[int]) -> Tensor:
    """(..., height, width) with so many pixels of the other side around each axis, however often they repeat."""
    for axis, margin in zip((-2, -1), margins, strict=True):
        pixels = x.shape[axis]
        rounds, rest = divmod(margin, pixels)
        parts = [x] * (2 * rounds + 1)
        if rest:
            parts = [x.narrow(axis, pixels - rest, rest), *parts, x.narrow(axis, 0, rest)]
        x = torch.cat(parts, axis) if len(parts) > 1 else x
    return x


def on_torus(kernel: Tensor, pixels: Sequence[int]) -> Tensor:
    """The kernel (..., height, width) on a torus of so many pixels, its middle at 0; taps that meet there are added."""
    for axis, size in zip((-2, -1), pixels, strict=True):
        extent = kernel.shape[axis]
        places = (torch.arange(extent, device=kernel.device) - extent // 2) % size
        shape = list(kernel.shape)
        shape[axis] = size
        kernel = kernel.new_zeros(shape).index_add(axis, places, kernel)
    return kernel


def off_torus(kernel: Tensor) -> Tensor:
    """What :func:`on_torus` makes the same of: a kernel of odd extent, at least the torus's."""
    for axis in (-2, -1):
        size = kernel.shape[axis]
        kernel = kernel.roll(size // 2, axis)
        if size % 2 == 0:  # taps -size/2, ..., size/2 - 1, and one more
            kernel = torch.cat([kernel, torch.zeros_like(kernel.narrow(axis, 0, 1))], axis)
    return kernel


def mirrored(kernel: Tensor) -> Tensor:
    """On a torus, the tap at t moved to -t: torch correlates, and what a kernel makes of an impulse is mirrored."""
    return kernel.flip(-2, -1).roll((1, 1), (-2, -1))


def _reach(weight: Tensor) -> list[int]:
    """How far an odd kernel reaches to either side."""
    return [extent // 2 for extent in weight.shape[-2:]]


def widened(tensor: Tensor) -> Tensor:
    """In float32 at least: what makes a layer 1-Lipschitz is not left to narrower types."""
    return tensor.float() if torch.finfo(tensor.dtype).bits < 32 else tensor
