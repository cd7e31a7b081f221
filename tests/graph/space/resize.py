"""Resize and its predecessor."""

import numpy as np

from tests.graph.case import Case
from tests.graph.space.draw import Draw, space

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
SCALES = (0.5, 0.75, 1.0, 1.3, 2.0, 2.5, 3.0)


@space("Upsample", tight=1 + 1e-6, refused="leave all sizes")
def upsample(draw: Draw) -> Case:
    axes = draw.one(1, 2, 2)
    scales = [1.0, 1.0, *(draw.one(1.0, 1.3, 2.0, 2.5, 3.0) for _ in range(axes))]
    mode = draw.one("nearest", "linear", None)
    return draw.case("x", shape=draw.image(2, axes), mode=mode, scales=np.array(scales, np.float32))


@space("Resize", tight=2.0, refused="leave all sizes|antialias|half_pixel_symmetric|policy|its mode")
def resize(draw: Draw) -> Case:
    mode = draw.one("nearest", "linear", "cubic", None)
    axes = 2 if mode == "cubic" else draw.one(1, 2, 2, 3)
    shape = draw.image(2, axes, 5)
    if draw.opset == 10:
        scales = [1.0, 1.0, *(draw.one(*SCALES) for _ in range(axes))]
        return draw.case("x", np.array(scales, np.float32), shape=shape, mode=draw.one("nearest", "linear", None))
    coordinates = COORDINATES + (("half_pixel_symmetric",) if draw.opset >= 19 else ())
    settings = {
        "mode": mode,
        "coordinate_transformation_mode": draw.one(None, *coordinates),
        "nearest_mode": draw.one(None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "cubic_coeff_a": draw.one(None, -0.5) if mode == "cubic" else None,
    }
    named = [*range(2, axes + 2)] if draw.opset >= 18 and draw.one(True, False) else None
    if draw.one(True, False) or (named is None):
        scales = [*(() if named else (1.0, 1.0)), *(draw.one(*SCALES) for _ in range(axes))]
        empty = np.zeros(0, np.float32)
        return draw.case("x", empty, np.array(scales, np.float32), shape=shape, axes=named, **settings)
    sizes = np.array(draw.integers(axes, 1, 9))
    return draw.case("x", "", "", sizes, shape=shape, axes=named, **settings)
