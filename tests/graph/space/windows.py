"""What slides windows: convolutions, pools, and what scatters."""

from typing import Any

import numpy as np

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space


def windows(draw: Draw, axes: int, *, dilated: bool = True) -> dict[str, Any]:
    """The attributes of windows on so many axes."""
    settings: dict[str, Any] = {"kernel_shape": draw.integers(axes, 1, 3), "strides": draw.integers(axes, 1, 3)}
    if dilated:
        settings["dilations"] = draw.integers(axes, 1, 2)
    pad = draw.one("pads", "SAME_UPPER", "SAME_LOWER", "VALID", None)
    if pad == "pads":
        settings["pads"] = draw.integers(2 * axes, 0, 2)
    elif pad:
        settings["auto_pad"] = pad
    return {
        name: value if name in ("kernel_shape", "auto_pad") else draw.maybe(value) for name, value in settings.items()
    }


@space("Conv", tight=1.5, refused="larger than its input", accepted="Dilation not supported for AutoPad")
def convolutions(draw: Draw) -> Case:
    axes, groups, inner, outer = draw.one(1, 2, 2, 3), *draw.integers(3, 1, 2)
    settings = windows(draw, axes)
    weight = draw.floats(outer * groups, inner, *settings["kernel_shape"])
    bias = draw.one([], [draw.floats(outer * groups)])
    settings["kernel_shape"] = draw.maybe(settings["kernel_shape"])
    return draw.case("x", weight, *bias, shape=draw.image(inner * groups, axes), group=groups, **settings)


@space(
    "ConvTranspose",
    tight=1.5,
    refused="output|cropping|larger than its input|both given",
    accepted="too large for stride|Explicit output_shape is inconsistent",
)
def transposed_convolutions(draw: Draw) -> Case:
    axes, groups, inner, outer = draw.one(1, 2, 2, 3), *draw.integers(3, 1, 2)
    settings = windows(draw, axes)
    weight = draw.floats(inner * groups, outer, *settings["kernel_shape"])
    bias = draw.one([], [draw.floats(outer * groups)])
    shape = draw.image(inner * groups, axes, 4)
    strides, dilations = settings["strides"] or [1] * axes, settings["dilations"] or [1] * axes
    settings["output_padding"] = draw.one(
        None, [min(1, max(both) - 1) for both in zip(strides, dilations, strict=True)]
    )
    if draw.integer(0, 3) == 0:
        settings["output_shape"] = [n * s + draw.integer(-1, 1) for n, s in zip(shape[1:], strides, strict=True)]
    settings["kernel_shape"] = draw.maybe(settings["kernel_shape"])
    return draw.case("x", weight, *bias, shape=shape, group=groups, **settings)


# pads as long as the kernel, where no window lies in the padding alone
@space("MaxPool", refused="padding alone|ambiguous|larger than its input", accepted="smaller than kernel")
def max_pools(draw: Draw) -> Case:
    axes = draw.one(1, 2, 2, 3)
    settings = windows(draw, axes)
    settings["ceil_mode"], settings["storage_order"] = draw.one(0, 1, None), draw.one(0, 1, None)
    return draw.case("x", shape=draw.image(2, axes), **settings)


@space(
    "AveragePool",
    tight=1 + 1e-6,
    refused="padding alone|ambiguous|larger than its input|dilated",
    accepted="smaller than kernel",
)
def average_pools(draw: Draw) -> Case:
    axes = draw.one(1, 2, 2, 3)
    settings = windows(draw, axes, dilated=draw.integer(0, 3) == 0)
    settings["ceil_mode"], settings["count_include_pad"] = draw.one(0, 1, None), draw.one(0, 1, None)
    return draw.case("x", shape=draw.image(2, axes), **settings)


@space("GlobalAveragePool", tight=1 + 1e-9)
@space("GlobalMaxPool")
def global_pools(draw: Draw) -> Case:
    return draw.case("x", shape=draw.image(draw.integer(1, 3), draw.integer(1, 3)))


@space("Col2Im", tight=1 + 1e-9, refused="its pads differ|images of two axes|columns are not")
def columns(draw: Draw) -> Case:
    image, kernel = draw.integers(2, 1, 5), draw.integers(2, 1, 3)
    strides, dilations, half = draw.integers(2, 1, 2), draw.integers(2, 1, 2), draw.integers(2, 0, 1)
    counts = [
        max(0, (n + 2 * p - d * (k - 1) - 1) // s + 1)
        for n, k, s, d, p in zip(image, kernel, strides, dilations, half, strict=True)
    ]
    shape = (draw.integer(1, 2) * kernel[0] * kernel[1], max(1, counts[0] * counts[1]))
    return draw.case(
        *("x", np.array(image), np.array(kernel)),
        shape=shape,
        strides=draw.maybe(strides) if strides == [1, 1] else strides,
        dilations=dilations,
        pads=half * 2,
    )


@space("DepthToSpace", tight=1.0)
def depth_to_space(draw: Draw) -> Case:
    block = draw.integer(1, 3)
    shape = (draw.integer(1, 2) * block**2, *draw.integers(2, 1, 3))
    return draw.case("x", shape=shape, blocksize=block, mode=draw.one("DCR", "CRD", None))


@space("SpaceToDepth", tight=1.0)
def space_to_depth(draw: Draw) -> Case:
    block = draw.integer(1, 3)
    return draw.case("x", shape=(draw.integer(1, 3), *(block * n for n in draw.integers(2, 1, 2))), blocksize=block)
