"""Rows of the case table: what copies, splits, resizes or scatters."""

import numpy as np

from tests.graph.case import Case, floats, ints


def sizes(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _resize(scales: tuple[float, ...] = (), target: tuple[int, ...] = ()) -> tuple[object, ...]:
    return ("x", "", sizes(*scales)) if scales else ("x", "", "", ints(*target))


GOOD: list[Case] = [
    Case("Split", {"axis": 1, "split": [1, 3]}, opset=11, outputs=2, output=1),
    Case("Split", {"axis": -1}, opset=8, outputs=2),
    Case("Split", {"axis": 2}, ("x", ints(2, 3, 4)), outputs=3, output=1, opset=13),
    Case("Split", {"axis": 2, "num_outputs": 2}, outputs=2, output=1),
    Case("Expand", inputs=("x", ints(5, 3, 4)), shape=(1, 3, 1)),
    Case("Expand", inputs=("x", ints(1, 1, 7)), shape=(5, 1), opset=8),
    Case("Expand", inputs=("x", ints(7, 1)), shape=(1, 3)),
    Case("Tile", inputs=("x", ints(1, 2, 1, 3))),
    Case("Tile", inputs=("x", ints(1, 1, 1, 1)), opset=8),
    Case("DepthToSpace", {"blocksize": 2}),
    Case("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, shape=(12, 2, 3)),
    Case("SpaceToDepth", {"blocksize": 2}, shape=(3, 4, 6)),
    # resizing
    Case("Upsample", {"scales": [1.0, 1.0, 2.0, 3.0]}, opset=8),
    Case("Upsample", {"mode": "linear"}, ("x", sizes(1, 1, 2, 1.5)), opset=9),
    Case("Resize", inputs=("x", sizes(1, 1, 2, 0.5)), opset=10),
    Case("Resize", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, _resize((1, 1, 2, 2))),
    Case("Resize", {"mode": "linear", "axes": [-2, 3]}, _resize(target=(5, 16)), opset=19),
    Case("Resize", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, _resize((1, 1, 2.5, 2))),
    Case("Resize", {"mode": "linear", "axes": [2, 3]}, _resize((0.7, 1.9))),
    Case("Resize", {"mode": "cubic", "cubic_coeff_a": -0.5}, ("x", sizes(), sizes(1, 1, 1.7, 2)), opset=11),
    # transposed convolution
    Case("ConvTranspose", inputs=("x", floats(4, 3, 3, 2), floats(3))),
    Case(
        "ConvTranspose", {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 2]}, ("x", floats(4, 3, 3, 3))
    ),
    Case(
        "ConvTranspose", {"group": 2, "dilations": [2, 1], "kernel_shape": [3, 3]}, ("x", floats(4, 3, 3, 3), floats(6))
    ),
    Case("ConvTranspose", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, ("x", floats(4, 2, 3, 3))),
    Case("ConvTranspose", {"strides": [2, 2], "output_shape": [18, 16]}, ("x", floats(4, 2, 3, 3))),
    Case("ConvTranspose", {"strides": [2], "pads": [1, 1]}, ("x", floats(2, 3, 4)), (2, 5), opset=8),
    Case("Col2Im", {"strides": [2, 2]}, ("x", ints(6, 4), ints(2, 2)), (12, 6)),
    Case("Col2Im", {"pads": [1, 0, 1, 0]}, ("x", ints(3, 4), ints(3, 2)), (6, 9)),
]

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
    Case("ConvTranspose", {"output_shape": [40, 40]}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"auto_pad": "SOME"}, ("x", floats(4, 3, 3, 3))),
    Case("ConvTranspose", {"kernel_shape": [2, 2]}, ("x", floats(4, 3, 3, 3))),
    Case("Col2Im", inputs=("x", ints(6, 4), ints(2, 2)), shape=(12, 6)),
    Case("Col2Im", inputs=("x", ints(6, 4, 4), ints(2, 2, 2)), shape=(12, 6)),
    Case("Col2Im", {"pads": [1, 0, 0, 0]}, ("x", ints(3, 4), ints(2, 2)), (4, 9)),
]
