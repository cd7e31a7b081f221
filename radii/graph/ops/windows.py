"""What sliding windows have in common: kernel, strides, dilations and pads, ONNX's `auto_pad` resolved."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from radii.graph.bounds import multiplicity, output_size, window_taps
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Shape

if TYPE_CHECKING:
    from torch import Tensor

ATTRIBUTES = {
    "auto_pad": "string",
    "kernel_shape": "ints",
    "strides": "ints",
    "pads": "ints",
    "dilations": "ints",
}
LARGEST = 2**20  # no kernel, stride, pad or dilation of a network is near this


@dataclass(frozen=True, slots=True)
class Windows:
    """Sliding windows on the spatial axes. ``pads`` are (before, after) per axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    ceil: bool = False

    def outputs(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows there are along each axis. Raises `Refusal` where none fits."""
        if len(sizes) != len(self.kernel):
            raise Refusal(
                f"an input with {len(sizes)} spatial axes meets a kernel with {len(self.kernel)}",
                "Export the model again with an input of the right shape",
            )
        counts = tuple(
            output_size(size, d * (k - 1) + 1, s, *pads, self.ceil) if size + sum(pads) >= d * (k - 1) + 1 else 0
            for size, k, s, d, pads in zip(sizes, self.kernel, self.strides, self.dilations, self.pads, strict=True)
        )
        if min(counts) < 1:
            raise Refusal(f"the kernel is larger than its input of {list(sizes)}", "Use a larger input")
        return counts

    def check(self, x: Shape) -> None:
        """`Refusal` unless these are windows on samples of shape ``x``, (channels, *spatial)."""
        axes = len(self.kernel)
        hold(1 <= axes <= 3 and len(x) == axes + 1, "the windows do not have the axes of their input")
        hold(len(self.strides) == len(self.dilations) == len(self.pads) == axes, "the windows contradict themselves")
        lengths = (*self.kernel, *self.strides, *self.dilations)
        hold(all(1 <= n <= LARGEST for n in lengths), "kernel, strides and dilations must be positive and sensible")
        hold(all(0 <= pad <= LARGEST for pads in self.pads for pad in pads), "pads must not be negative, nor huge")

    def padding(self, x: Shape) -> int:
        """The entries of a sample of shape ``x`` once it is padded, 0 where it is not."""
        if not any(map(any, self.pads)):
            return 0
        return x[0] * prod(size + sum(pads) for size, pads in zip(x[1:], self.pads, strict=True))

    def taps(self, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """Per axis the positions (count, kernel) that each window looks at."""
        return [
            window_taps(count, k, s, d, low)
            for count, k, s, d, (low, _) in zip(
                self.outputs(sizes), self.kernel, self.strides, self.dilations, self.pads, strict=True
            )
        ]

    def covers(self, sizes: tuple[int, ...]) -> list[int]:
        """Per axis, how many windows cover the entry that most of them cover."""
        return [
            multiplicity(taps[(taps >= 0) & (taps < size)], size)
            for taps, size in zip(self.taps(sizes), sizes, strict=True)
        ]

    def padded(self, x: Tensor, value: float) -> Tensor:
        """``x`` padded (or cropped) to exactly what the windows cover."""
        sizes = tuple(x.shape[2:])
        amounts: list[int] = []
        for size, count, k, s, d, (low, _) in zip(
            sizes, self.outputs(sizes), self.kernel, self.strides, self.dilations, self.pads, strict=True
        ):
            amounts[:0] = [low, (count - 1) * s + d * (k - 1) + 1 - size - low]
        padded = torch.nn.functional.pad(x, [max(amount, 0) for amount in amounts], value=value) if any(amounts) else x
        # afterwards, since a crop may go into the padding
        return torch.nn.functional.pad(padded, [min(amount, 0) for amount in amounts]) if min(amounts) < 0 else padded

    def written(self, sizes: Shape) -> dict[str, Any]:
        """ONNX's attributes; pads behind are what the windows cover, so that no rounding is left to who reads them."""
        axes = zip(sizes, self.outputs(sizes), self.kernel, self.strides, self.dilations, self.pads, strict=True)
        high = [max(0, (count - 1) * s + d * (k - 1) + 1 - size - low) for size, count, k, s, d, (low, _) in axes]
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": [*(low for low, _ in self.pads), *high],
        }


def read_windows(call: Call, x: Activation, kernel: tuple[int, ...]) -> Windows:
    """The windows of a node whose input is ``x`` of shape (channels, *spatial)."""
    sizes = x.shape[1:]
    axes = len(kernel)
    if len(sizes) != axes or axes not in (1, 2, 3):
        raise Refusal(
            f"a kernel with {axes} axes meets an input with {len(sizes)} spatial axes",
            "Use one, two or three spatial axes, the same for both (no runtime runs what jax2onnx writes for a "
            "reduce_window over batch and channels: reduce a reshaped input; from Keras, export by its torch backend)",
        )
    strides = tuple(call.get("strides", (1,) * axes))
    dilations = tuple(call.get("dilations", (1,) * axes))
    flat = tuple(call.get("pads", (0,) * (2 * axes)))
    if not (len(strides) == len(dilations) == axes and len(flat) == 2 * axes):
        raise Refusal("strides, dilations or pads do not fit the kernel", "Export the model again")
    if not all(1 <= value <= LARGEST for value in (*kernel, *strides, *dilations)):
        raise Refusal("kernel, strides and dilations must be positive and sensible", "Export the model again")
    if not all(0 <= value <= LARGEST for value in flat):
        raise Refusal("pads must not be negative, nor huge", "Crop with Slice, pad with Pad")
    pads = tuple(zip(flat[:axes], flat[axes:], strict=True))
    auto = call.get("auto_pad", "NOTSET")
    if auto != "NOTSET" and any(flat):
        raise Refusal("auto_pad and pads are both given", "Give one of the two")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = tuple(
            _same(size, d * (k - 1) + 1, s, auto == "SAME_UPPER")
            for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
        )
    elif auto not in ("NOTSET", "VALID"):
        raise Refusal("auto_pad has an unknown value", "Give pads instead")
    return Windows(tuple(kernel), strides, dilations, pads)


def _same(size: int, kernel: int, stride: int, upper: bool) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
