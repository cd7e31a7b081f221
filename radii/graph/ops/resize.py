"""Resize and Upsample, axis by axis: every entry of the output is a weighted sum of a few of the input.
Formulas: docs/numerics.md 2.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from radii.graph.affine import Affine
from radii.graph.bounds import MAX_TAPS, slope, up, weighting_norm
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.copies import is_batch
from radii.graph.ops.layout import KEEP_BATCH, Identity
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule
from radii.graph.views import View, axes_shifted

if TYPE_CHECKING:
    from torch import Tensor

F32 = np.float32  # coordinates are computed as onnxruntime computes them: which pixel is nearest hangs on it
COORDINATES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}  # how many entries one is made of, by mode
LARGEST = 2.0**20
SIMPLE = "simple"  # of opset 10, and in no file: floor where an axis grows, ceil where it shrinks
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", SIMPLE)


class Axis(NamedTuple):
    """How one axis is resized."""

    axis: int
    size: int
    scale: float


@onnx_operator(
    inputs=4,
    mode="string",
    coordinate_transformation_mode="string",
    nearest_mode="string",
    cubic_coeff_a="float",
    exclude_outside="flag",
    extrapolation_value="float",
    antialias="flag",
    axes="ints",
    keep_aspect_ratio_policy="string",
)
@dataclass(frozen=True, eq=False)
class Resize(Operator):
    """``axes`` of one sample, by nearest, linear or cubic interpolation."""

    behaviour = "nearest and linear: spectral norm, the product of the axes' norms; cubic: that of the |weights|"
    mode: str
    coordinates: str
    rounding: str
    cubic: float
    axes: tuple[int, ...]
    sizes: tuple[int, ...]  # of the output, and output over input as the file gives or implies it
    scales: tuple[float, ...]

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, mode = call.activation(), call.get("mode", "nearest")
        old = call.opset < 11
        coordinates = call.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
        rounding = call.get("nearest_mode", SIMPLE if old else "round_prefer_floor")
        if rounding == SIMPLE and not old:
            raise Refusal("its nearest_mode is unknown", "Use one of the specification's")
        if call.get("antialias", 0) or call.get("exclude_outside", 0):
            raise Refusal("antialias and exclude_outside are not supported", "Resize without them")
        if call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Refusal("only the policy stretch is supported", "Give the sizes themselves")
        axes = _axes(call, x)
        if axes:
            Resize(mode, coordinates, rounding, 0.0, *zip(*axes, strict=True)).check(x.shape)
        kept = tuple(axis for axis in axes if axis.size != x.shape[axis.axis] or axis.scale != 1)
        return cls.along(kept, mode, coordinates, rounding, call.get("cubic_coeff_a", -0.75))

    @staticmethod
    def along(axes: Sequence[Axis], mode: str, coordinates: str, rounding: str, cubic: float) -> Operator:
        """The resizing of ``axes``, or nothing where there are none."""
        return Resize(mode, coordinates, rounding, cubic, *zip(*axes, strict=True)) if axes else Identity()

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        hold(
            self.mode in TAPS and self.coordinates in COORDINATES and self.rounding in ROUNDINGS,
            "its mode is not supported",
            f"Use nearest, linear or cubic; coordinates {', '.join(COORDINATES)}",
        )
        hold(abs(self.cubic) <= LARGEST, "cubic_coeff_a is huge", "Use -0.75")
        hold(bool(self.axes) and len(set(self.axes)) == len(self.axes), "it resizes no axis, or one twice")
        hold(len(self.sizes) == len(self.scales) == len(self.axes), "it does not have one size and scale an axis")
        for axis in self.resized():
            hold(0 <= axis.axis < len(x), "an axis is out of range")
            hold(axis.size >= 1 and axis.size * TAPS[self.mode] <= MAX_TAPS, "a size is not positive, or far too large")
            before, scale = F32(x[axis.axis]), F32(axis.scale)
            positive = 2.0**-100 < axis.scale < 2.0**100
            hold(
                positive and (scale == F32(axis.size) / before or np.floor(before * scale) == axis.size),
                "a size is not what its scale makes of the input",
            )

    def scratch(self, *inputs: Shape) -> int:
        sizes, most = list(inputs[0]), 0
        for axis in self.resized():
            sizes[axis.axis] = axis.size
            most = max(most, prod(sizes))
        return TAPS[self.mode] * most

    def resized(self) -> list[Axis]:
        """The axes one by one."""
        return [Axis(*parts) for parts in zip(self.axes, self.sizes, self.scales, strict=True)]

    def taps(self, axis: Axis, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Which entries of an axis of length ``size`` each of the output reads, and how much: (output, taps) each."""
        position = _positions(self.coordinates, axis, size)
        if self.mode == "nearest":
            rounding = self.rounding if self.rounding != SIMPLE else "ceil" if axis.scale < 1 else "floor"
            return np.clip(_nearest(rounding, position), 0, size - 1)[:, None], np.ones((axis.size, 1))
        if self.mode == "linear":
            position = np.clip(position, F32(0), F32(size - 1))
        first = np.floor(position)
        part = (position - first).astype(np.float64)
        if self.mode == "linear":
            index = first.astype(np.int64)[:, None] + np.arange(2)
            return np.clip(index, 0, size - 1), np.stack([1 - part, part], axis=1)
        index = first.astype(np.int64)[:, None] + np.arange(-1, 3)
        distances = np.abs(part[:, None] - np.arange(-1, 3))
        return np.clip(index, 0, size - 1), _keys(distances, self.cubic)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        for axis in self.resized():
            index, weight = (torch.from_numpy(array).to(x.device) for array in self.taps(axis, x.shape[axis.axis + 1]))
            if self.mode == "nearest":
                x = x.index_select(axis.axis + 1, index[:, 0])
                continue
            column = (-1, *[1] * (x.ndim - axis.axis - 2))
            parts = [
                x.index_select(axis.axis + 1, index[:, tap]) * weight[:, tap].to(x.dtype).reshape(column)
                for tap in range(index.shape[1])
            ]
            x = torch.stack(parts).sum(dim=0)
        return x

    def magnitude(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor | None:
        return None if self.mode == "cubic" else self.run(inputs, arrays)  # other weights are not negative

    def shape(self, *inputs: Shape) -> Shape:
        sizes = list(inputs[0])
        for axis in self.resized():
            sizes[axis.axis] = axis.size
        return tuple(sizes)

    def lipschitz(self, *inputs: Shape) -> Rule:
        norms = []
        for axis in self.resized():
            size = inputs[0][axis.axis]
            index, weight = self.taps(axis, size)
            norms.append(weighting_norm(index, np.abs(weight), size))
        return slope(up(prod(norms)))

    def multiply_adds(self, *inputs: Shape) -> int:
        taps = 0 if self.mode == "nearest" else TAPS[self.mode]
        return taps * len(self.axes) * prod(self.shape(*inputs))

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axes_shifted(call, None)


@onnx_operator(inputs=2, mode="string", scales="floats")
@dataclass(frozen=True, eq=False)
class Upsample(Resize):
    """The Resize of opsets up to 9: asymmetric coordinates, scales as an attribute at opset 8, as an input at 9."""

    is_node = False

    @classmethod
    def read(cls, call: Call) -> Operator:
        mode = call.get("mode", "nearest")
        if mode not in ("nearest", "linear"):
            raise Refusal("its mode is not supported", "Use nearest or linear")
        kept = tuple(axis for axis in _axes(call, call.activation()) if axis.scale != 1)
        return cls.along(kept, mode, "asymmetric", "floor", -0.75)


def _axes(call: Call, x: Activation) -> tuple[Axis, ...]:
    """The axes of a sample, with the sizes they get."""
    old = call.operator == "Upsample" or call.opset < 11
    call.constant(1)  # the region of interest, which the supported coordinates do not look at
    scales, sizes = call.constant(1 if old else 2), None if old else call.constant(3)
    if (scales is not None and scales.dtype.kind != "f") or (sizes is not None and sizes.dtype.kind not in "iuO"):
        raise Refusal("scales must be floats, and sizes integers", "Export the model again")
    given = call.get("axes", tuple(range(x.rank)))
    axes = [axis + x.rank if axis < 0 else axis for axis in given]
    if len(set(axes)) != len(axes) or not all(0 <= axis < x.rank for axis in axes):
        raise Refusal("an axis is out of range, or named twice", "Export the model again")
    if "scales" in call.attributes:
        call.only_one(1, "scales")
        scales = np.array(call.get("scales"), dtype=np.float32)
    scales = scales if scales is not None and scales.size else None
    wanted = scales if scales is not None else sizes
    if wanted is None or (scales is not None and sizes is not None and sizes.size) or wanted.shape != (len(axes),):
        raise Refusal("either scales or sizes must be given, one an axis", "Export the model again")
    made = []
    for axis, value in zip(axes, wanted, strict=True):
        if axis == 0:
            one = not isinstance(value, Affine) and value == 1
            if not (is_batch(value) or (one and scales is not None)):
                raise Refusal("it resizes the batch", KEEP_BATCH)
            continue
        if isinstance(value, Affine):
            raise Refusal("a size depends on the batch size", KEEP_BATCH)
        before = x.shape[axis - 1]
        scale = F32(value) if scales is not None else F32(value) / F32(before)
        size = float(np.floor(F32(before) * scale)) if scales is not None else float(value)
        if not (np.isfinite(scale) and scale > 0 and 1 <= size <= 2**20):
            raise Refusal("a scale or size is not positive, or far too large", "Export the model again")
        made.append(Axis(axis - 1, int(size), float(scale)))
    if any(axis.scale != 1 for axis in made) and all(axis.size == x.shape[axis.axis] for axis in made):
        # the specification shifts entries, onnxruntime copies them
        raise Refusal("scales that are not 1 leave all sizes as they are", "Remove the layer")
    call.limits.check_tensor(axis.size for axis in made)
    return tuple(made)


def _positions(coordinates: str, axis: Axis, size: int) -> np.ndarray:
    """Where on the input each entry of the output lies."""
    x, scale, length = np.arange(axis.size, dtype=F32), F32(axis.scale), F32(axis.size)
    if coordinates == "asymmetric":
        return x / scale
    if coordinates == "align_corners":
        return x * F32(size - 1) / (length - F32(1)) if axis.size > 1 else np.zeros(1, F32)
    if coordinates == "pytorch_half_pixel" and axis.size == 1:
        return np.zeros(1, F32)
    half = (x + F32(0.5)) / scale - F32(0.5)
    if coordinates == "half_pixel_symmetric":
        adjustment = length / (scale * F32(size))
        return F32(size) / F32(2) * (F32(1) - adjustment) + half
    return half


def _nearest(rounding: str, position: np.ndarray) -> np.ndarray:
    if rounding == "floor":
        nearest = np.floor(position)
    elif rounding == "ceil":
        nearest = np.ceil(position)
    elif rounding == "round_prefer_ceil":
        nearest = np.floor(position + F32(0.5))
    else:
        nearest = np.ceil(position - F32(0.5))
    return np.asarray(nearest, dtype=np.int64)


def _keys(distance: np.ndarray, a: float) -> np.ndarray:
    """The weights of cubic convolution at distances up to 2 (Keys 1981)."""
    d = distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, far))
