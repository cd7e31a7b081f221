"""A graph as an ONNX file again, for other programs to run: our own spelling of what was checked, not what came.

It knows the operators of most networks, not all. onnx is imported when it is called.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from radii.graph.ir import Graph
from radii.graph.operator import Operator, Shape
from radii.graph.ops import layout, linear, normalization, pool
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Add, Div, Max, Min, Mul, Sub, Sum
from radii.graph.ops.parametric import Clip, PRelu
from radii.graph.ops.reduce import ReduceMean
from radii.graph.ops.select import Concat, Pad
from radii.graph.ops.windows import Windows

OPSET = 20
MOST_BYTES = 2**31 - 2**20  # of a protobuf
# Their fields are ONNX's attributes.
ALIKE = {
    *("Abs", "Celu", "Elu", "Erf", "Exp", "Gelu", "GlobalAveragePool", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
    *("Mish", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh"),
}


class Unwritable(ValueError):
    """Names the operator that this module does not know how to write, or why the file can't be."""


class _Pen:
    """Nodes and constants written so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def given(self, *arrays: np.ndarray | None) -> list[str]:
        return [self.constant(array) for array in arrays if array is not None]

    def node(self, operator: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output


def write_onnx(graph: Graph) -> bytes:
    """A file in float32 with the open-batch input ``x`` and the output ``y``. Raises :class:`Unwritable`."""
    from onnx import TensorProto, helper

    if 4 * sum(array.size for node in graph.nodes for array in node.operator.arrays().values()) > MOST_BYTES:
        raise Unwritable("its constants do not fit one file")
    pen = _Pen()
    name = {value: f"v{value}" for value in graph.shapes} | {graph.input: "x"}
    for node in graph.nodes:
        xs, out = [name[value] for value in node.inputs], name[node.output]
        _write(pen, node.operator, xs, out, graph.input_shapes(node))
    pen.node("Identity", [name[graph.output]], "y")
    float32 = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", float32, ["batch", *graph.input_shape])]
    outputs = [helper.make_tensor_value_info("y", float32, ["batch", graph.num_classes])]
    whole = helper.make_graph(pen.nodes, "radii", inputs, outputs, pen.constants)
    proto = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    data: bytes = proto.SerializeToString()
    return data


def _write(pen: _Pen, operator: Operator, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    if (writer := WRITERS.get(type(operator))) is not None:
        writer(pen, operator, xs, out, shapes)
    elif (name := type(operator).__name__) in ALIKE:
        pen.node(name, xs, out, **operator.settings())
    else:
        raise Unwritable(f"{operator.name} can't be written")


def _windows(windows: Windows, sizes: Shape) -> dict[str, Any]:
    """The attributes; pads at the far end are what the windows cover, so that no rounding is left to the reader."""
    axes = zip(
        sizes, windows.outputs(sizes), windows.kernel, windows.strides, windows.dilations, windows.pads, strict=True
    )
    high = [max(0, (count - 1) * s + d * (k - 1) + 1 - size - low) for size, count, k, s, d, (low, _) in axes]
    return {
        "kernel_shape": windows.kernel,
        "strides": windows.strides,
        "dilations": windows.dilations,
        "pads": [*(low for low, _ in windows.pads), *high],
    }


def _conv(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    inputs = [*xs, *pen.given(op.weight, op.bias)]
    pen.node("Conv", inputs, out, group=op.groups, **_windows(op.windows, shapes[0][1:]))


def _max_pool(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node("MaxPool", xs, out, **_windows(op.windows, shapes[0][1:]))


def _average_pool(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    sizes, kernel = shapes[0][1:], op.windows.kernel
    cut = any(entry != k for entries, k in zip(op.divisors(sizes), kernel, strict=True) for entry in entries)
    if op.include_pad and cut:
        raise Unwritable("AveragePool with a window that ends behind its padding can't be written")
    pen.node("AveragePool", xs, out, count_include_pad=int(op.include_pad), **_windows(op.windows, sizes))


def _linear(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    if len(shapes[0]) == 1:
        pen.node("Gemm", [*xs, *pen.given(op.weight, op.bias)], out, transB=1)
        return
    product = pen.node("MatMul", [*xs, pen.constant(op.weight.T)], out if op.bias is None else f"{out}p")
    if op.bias is not None:
        pen.node("Add", [product, pen.constant(op.bias)], out)


def _product(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    left = getattr(op, "left", True)  # of the only factor that may be constant
    factors = pen.given(*op.arrays().values())
    pen.node("MatMul", [*factors, *xs] if left else [*xs, *factors], out)


def _binary(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    constants = pen.given(op.constant)
    pen.node(type(op).__name__, [*constants, *xs] if op.constant_first else [*xs, *constants], out)


def _many(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node(type(op).__name__, [*xs, *pen.given(op.constant)], out)


def _batch_norm(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    column = (-1, *[1] * (len(shapes[0]) - 1))
    scaled = pen.node("Mul", [*xs, pen.constant(op.scale.reshape(column))], f"{out}s")
    pen.node("Add", [scaled, pen.constant(op.offset.reshape(column))], out)


def _layer_norm(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    inputs = [*xs, *pen.given(op.scale, op.bias)]
    pen.node("LayerNormalization", inputs, out, axis=op.axis + 1, epsilon=op.epsilon)


def _softmax(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    if op.trailing:
        raise Unwritable("Softmax over several axes can't be written")
    pen.node(type(op).__name__, xs, out, axis=op.axis + 1)


def _clip(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    ends = ["" if end is None else pen.constant(np.array(end, np.float32)) for end in (op.low, op.high)]
    pen.node("Clip", [*xs, *ends], out)


def _reshape(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node("Reshape", [*xs, pen.constant(np.array([0, *op.target]))], out)  # 0: as it is


def _transpose(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node("Transpose", xs, out, perm=[0, *(axis + 1 for axis in op.permutation)])


def _concat(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node("Concat", xs, out, axis=op.axis + 1)


def _reduce_mean(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    axes = pen.constant(np.array([axis + 1 for axis in op.axes]))
    pen.node("ReduceMean", [*xs, axes], out, keepdims=int(op.keepdims))


def _pad(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    if op.mode != "constant":
        raise Unwritable(f"Pad in mode {op.mode} can't be written")
    low, high = ([0, *(pair[side] for pair in op.pads)] for side in (0, 1))
    pen.node("Pad", [*xs, pen.constant(np.array(low + high)), pen.constant(np.array(op.value, np.float32))], out)


def _prelu(pen: _Pen, op: Any, xs: list[str], out: str, shapes: Sequence[Shape]) -> None:
    pen.node("PRelu", [*xs, pen.constant(op.slope)], out)


WRITERS: dict[type[Operator], Callable[[_Pen, Any, list[str], str, Sequence[Shape]], None]] = {
    Conv: _conv,
    pool.MaxPool: _max_pool,
    pool.AveragePool: _average_pool,
    linear.Gemm: _linear,
    linear.MatMul: _linear,
    linear.LeftMatMul: _product,
    linear.Matrices: _product,
    linear.Product: _product,
    **dict.fromkeys((Add, Sub, Mul, Div), _binary),
    **dict.fromkeys((Sum, Max, Min), _many),
    normalization.BatchNormalization: _batch_norm,
    normalization.LayerNormalization: _layer_norm,
    **dict.fromkeys((normalization.Softmax, normalization.LogSoftmax), _softmax),
    Clip: _clip,
    PRelu: _prelu,
    **dict.fromkeys((layout.Reshape, layout.Flatten, layout.Squeeze, layout.Unsqueeze), _reshape),
    layout.Transpose: _transpose,
    Concat: _concat,
    Pad: _pad,
    ReduceMean: _reduce_mean,
}
