"""Refusals: what copies, splits, resizes or scatters."""

import numpy as np

from tests.graph.case import Case, floats, ints


def sizes(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _resize(scales: tuple[float, ...] = (), target: tuple[int, ...] = ()) -> tuple[object, ...]:
    return ("x", "", sizes(*scales)) if scales else ("x", "", "", ints(*target))


BAD: list[Case] = [
    Case("Split", {"axis": 0}, outputs=2, opset=11),
    Case("Split", {"axis": 1, "split": [1, 2]}, opset=11, outputs=2),
    Case("Split", {"axis": 1, "split": [1, 1, 2]}, opset=11, outputs=2),
    Case("Split", {"axis": 1, "split": [5, -1]}, opset=11, outputs=2),
    Case("Split", {"axis": 1, "num_outputs": 3}, outputs=2),
    Case("Expand", inputs=("x", ints(2, 5)), shape=(5,)),
    Case("Expand", inputs=("x", ints(2, 1, 5)), shape=(5,)),
    Case("Expand", inputs=("x", ints(-1, 5)), shape=(5,)),
    Case("Expand", inputs=("x", ints(3)), shape=(5,)),
    Case("Expand", inputs=("x", ints(1, 2**40)), shape=(1,)),
    Case("Tile", inputs=("x", ints(2, 1, 1, 1))),
    Case("Tile", inputs=("x", ints(1, 0, 1, 1))),
    Case("Tile", inputs=("x", ints(1, 2))),
    Case("Tile", inputs=("x", ints(1, 2**40, 1, 1))),
    Case("DepthToSpace", {"blocksize": 3}),
    Case("DepthToSpace", {"blocksize": 2, "mode": "ABC"}),
    Case("DepthToSpace"),
    Case("SpaceToDepth", {"blocksize": 2}),
    Case("SpaceToDepth", {"blocksize": 2}, shape=(4,)),
    Case("Upsample", {"scales": [2.0, 1.0, 1.0, 1.0]}, opset=8),
    Case("Upsample", {"scales": [1.0, 1.0], "mode": "cubic"}, opset=8),
    Case("Resize", inputs=("x",)),
    Case("Resize", inputs=_resize((1, 1, 2))),
    Case("Resize", inputs=_resize((1, 1, 0, 2))),
    Case("Resize", inputs=_resize((1, 1, 1, 1.1))),
    Case("Resize", inputs=_resize((1, 1, -1, 2))),
    Case("Resize", inputs=_resize((1, 1, np.nan, 2))),
    Case("Resize", inputs=_resize((1, 1, 1e30, 2))),
    Case("Resize", inputs=_resize((2, 1, 1, 1))),
    Case("Resize", inputs=_resize(target=(1, 4, 5, 5))),
    Case("Resize", inputs=("x", "", sizes(1, 1, 2, 2), ints(1, 4, 18, 16))),
    Case("Resize", {"mode": "quintic"}, _resize((1, 1, 2, 2))),
    Case("Resize", {"antialias": 1, "mode": "linear"}, _resize((1, 1, 0.5, 0.5))),
    Case("Resize", {"coordinate_transformation_mode": "tf_crop_and_resize"}, _resize((1, 1, 2, 2))),
    Case("Resize", {"keep_aspect_ratio_policy": "not_larger"}, _resize(target=(1, 4, 5, 5))),
    Case("Resize", {"axes": [2, 2]}, _resize((2, 2))),
    Case("ConvTranspose", inputs=("x", floats(3, 4, 3, 3))),
    Case("ConvTranspose", inputs=("x", floats(4, 3, 3, 3), floats(4))),
    Case("ConvTranspose", {"group": 3}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"strides": [2, 0]}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"output_padding": [1, 1]}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"pads": [9, 9, 9, 9]}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"output_shape": [3, 9, 8]}, ("x", floats(4, 3, 1, 1))),
    Case("ConvTranspose", {"output_shape": [40, 40]}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"auto_pad": "SOME"}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"kernel_shape": [2, 2]}, ("x", floats(4, 3, 3, 3))),
    Case("Col2Im", inputs=("x", ints(6, 4), ints(2, 2)), shape=(12, 6)),
    Case("Col2Im", inputs=("x", ints(6, 4, 4), ints(2, 2, 2)), shape=(12, 6)),
    Case("Col2Im", {"pads": [1, 0, 0, 0]}, ("x", ints(3, 4), ints(2, 2)), (4, 9)),
]
