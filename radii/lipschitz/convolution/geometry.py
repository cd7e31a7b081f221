"""Where a convolution reads: sizes, paddings and the torus that holds a layer, one axis at a time.
Formulas: docs/numerics.md 2.4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

PaddingMode = Literal["zeros", "circular", "reflect", "replicate"]
Padding = int | Sequence[int] | Sequence[tuple[int, int]]
NUMPY_MODE: dict[str, Literal["wrap", "reflect", "edge"]] = {
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
}

LARGE = 256  # kernels side by side


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a convolution: output j reads padded positions ``stride j + dilation t``, t < kernel.

    A transposed convolution is described by its adjoint, which has the same norm.
    """

    size: int
    kernel: int
    outputs: int
    stride: int
    dilation: int
    low: int
    high: int
    mode: PaddingMode

    @property
    def extent(self) -> int:
        """Positions from the first to the last tap, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def wraps(self) -> bool:
        """Whether the layer is a circular operator on its own size, which no other size will do for."""
        return self.mode == "circular" and self.size % self.stride == 0

    def padded(self) -> npt.NDArray[np.intp]:
        """The input index behind every padded position that is read, -1 for a zero."""
        positions, widths = np.arange(self.size), (self.low, self.high)
        indices: npt.NDArray[np.intp]
        if self.mode == "zeros":
            indices = np.pad(positions, widths, constant_values=-1)
        else:
            indices = np.pad(positions, widths, mode=NUMPY_MODE[self.mode])
        return indices[: (self.outputs - 1) * self.stride + self.extent]

    def sources(self) -> npt.NDArray[np.intp]:
        """(outputs, kernel): the input index each output reads at each tap, -1 for a zero."""
        reads = np.arange(self.outputs)[:, np.newaxis] * self.stride + np.arange(self.kernel) * self.dilation
        sources: npt.NDArray[np.intp] = self.padded()[reads]
        return sources

    def torus(self) -> tuple[int, int]:
        """``(M, q)``: on a torus of ``stride * M`` pixels, the circular operator times ``sqrt(q)`` bounds the layer.

        For ``q = 1`` and zero padding every larger M will do as well: the layer is then a submatrix of the operator.

        * circular, and the stride divides the size: the layer *is* the operator on its own size, whose outputs repeat
          ``q`` times where there are more of them than fit.
        * zeros: a torus long enough that the padding does not wrap onto pixels. Outputs may wrap onto each other: one
          that starts ``stride M >= size + low`` further right than another reads zeros only, for no output starts left
          of ``-low``.
        * the rest: the layer without padding on the padded input, in which a pixel stands at most ``q`` times.
        """
        if self.wraps:
            return self.size // self.stride, math.ceil(self.outputs * self.stride / self.size)
        read = self.padded()
        if self.mode == "zeros":
            repeats = 1
            right = len(read) - self.low - self.size  # padding read on the right; negative: pixels never read
            length = min(self.size, self.size + right) + max(self.low, right, 0)
        else:
            repeats = int(np.bincount(read).max())
            length = len(read)
        return math.ceil(length / self.stride), repeats

    @property
    def most_repeats(self) -> int:
        """The q of :meth:`torus` over all sizes that allow the padding."""
        match self.mode:
            case "zeros":
                return 1
            case "circular" if self.stride == 1 and self.low + self.high < self.extent:
                return 1
            case "replicate":
                return 1 + self.low + self.high
            case _:
                return 1 + (self.low > 0) + (self.high > 0)

    def inside(self) -> int:
        """How many strides' worth of neighbouring pixels are each read once at every tap, by outputs that exist."""
        read = self.padded()
        once = (read >= 0) & (np.bincount(read[read >= 0], minlength=self.size)[read] == 1)
        once[: self.extent - 1] = False
        whole = once[: min(len(once), self.outputs * self.stride) // self.stride * self.stride]
        (good,) = whole.reshape(-1, self.stride).all(axis=1).nonzero()
        # the pixels that qualify follow one another: copies lie at the borders
        return int(good[-1] - good[0] + 1) if len(good) and len(good) == good[-1] - good[0] + 1 else 0


def axes(
    kernel: Sequence[int],
    input_size: Sequence[int] | int | None,
    *,
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int],
    padding_mode: str,
    transposed: bool,
    output_padding: int | Sequence[int],
) -> tuple[Axis, ...]:
    """The axes of a layer as PyTorch describes it; without an input size, on images large enough to show its norm.

    Raises:
        ValueError: the numbers describe no layer.
    """
    n = len(kernel)
    if padding_mode not in get_args(PaddingMode):
        raise ValueError(f"padding_mode must be one of {', '.join(get_args(PaddingMode))}, not {padding_mode!r}")
    if transposed and padding_mode != "zeros":
        raise ValueError("a transposed convolution is padded with zeros only")
    strides = _per_axis("stride", stride, n, least=1)
    dilations = _per_axis("dilation", dilation, n, least=1)
    if input_size is None:
        reach = [
            s * (d * k + max(pads))
            for s, d, k, pads in zip(strides, dilations, kernel, _pairs(padding, n), strict=True)
        ]
        input_size = [LARGE * r for r in reach]
    sizes = _per_axis("input_size", input_size, n, least=1)
    extra = _per_axis("output_padding", output_padding, n, least=0)
    if not transposed and any(extra):
        raise ValueError("output_padding belongs to a transposed convolution")
    result = []
    for a, (low, high) in enumerate(_pairs(padding, n)):
        extent = dilations[a] * (kernel[a] - 1) + 1
        if transposed:
            # the adjoint reads the layer's output and yields its input
            size = (sizes[a] - 1) * strides[a] + extent - low - high + extra[a]
            outputs = sizes[a]
            # the outputs the layer was asked to add or drop on the right are padding the adjoint reads or leaves
            high = max(high - extra[a], 0)
        else:
            size = sizes[a]
            outputs = (size + low + high - extent) // strides[a] + 1
        if size < 1 or outputs < 1:
            raise ValueError(f"axis {a}: a kernel of extent {extent} on {sizes[a]} pixels has no output")
        limit = {"circular": size, "reflect": size - 1}.get(padding_mode, math.inf)
        if max(low, high) > limit:
            raise ValueError(f"axis {a}: {padding_mode} padding of {max(low, high)} on {size} pixels is too wide")
        mode: PaddingMode = padding_mode  # type: ignore[assignment]
        result.append(Axis(size, kernel[a], outputs, strides[a], dilations[a], low, high, mode))
    return tuple(result)


def _per_axis(name: str, value: int | Sequence[int], n: int, *, least: int) -> tuple[int, ...]:
    values = (value,) * n if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != n:
        raise ValueError(f"{name} needs {n} numbers, one per axis, not {len(values)}")
    if min(values) < least:
        raise ValueError(f"{name} must be at least {least}, not {min(values)}")
    return values


def _pairs(padding: Padding, n: int) -> tuple[tuple[int, int], ...]:
    given: Sequence[int | Sequence[int]] = (padding,) * n if isinstance(padding, int) else tuple(padding)
    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in given)
    if len(pairs) != n or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"padding needs one number or one (low, high) pair per axis, {n} of them")
    if min(min(pair) for pair in pairs) < 0:
        raise ValueError("padding must not be negative; crop the input in a layer of its own")
    return tuple((int(pair[0]), int(pair[1])) for pair in pairs)
