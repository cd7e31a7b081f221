"""How the nodes of a QDQ file are read: QuantizeLinear, DequantizeLinear, and what stands between them as one unit.

A unit (:mod:`radii.graph.units`) has the inputs of its integer kernel. Where its constants are not such that
onnxruntime has one, it is read node by node, as floats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from radii.graph.call import Call, Value
from radii.graph.errors import Refusal, hold
from radii.graph.folding import fold
from radii.graph.operator import Operator
from radii.graph.ops.activation import Relu
from radii.graph.ops.broadcast import without_batch
from radii.graph.ops.conv import Conv
from radii.graph.ops.elementwise import Add, Mul
from radii.graph.ops.integers import NARROW, IntegerConv, IntegerLinear, PixelSum, QuantizedAveragePool, largest_sum
from radii.graph.ops.linear import Linear
from radii.graph.ops.normalization import Softmax
from radii.graph.ops.pool import AveragePool, GlobalAveragePool
from radii.graph.ops.quantised import (
    BYTE,
    DequantizeLinear,
    QuantizedAdd,
    QuantizedMul,
    QuantizedSoftmax,
    QuantizeLinear,
    Requantize,
)
from radii.graph.ops.registry import OPERATORS

Array = np.ndarray[Any, np.dtype[Any]]
Steps = tuple[Operator, ...]

# TensorProto.DataType
TYPES: dict[int, type[np.integer[Any]]] = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}
FLOAT = 1
AGAIN = "Quantise it with quantize_static(..., quant_format=QuantFormat.QDQ), to 8 or 16 bits"


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps of one tensor: one scale and one zero point for all of it."""

    scale: np.float32
    zero_point: int
    low: int
    high: int

    @property
    def is_byte(self) -> bool:
        return self.high - self.low == BYTE

    @property
    def signed(self) -> bool:
        return self.low < 0


def _pair(call: Call, position: int) -> tuple[Array, Array]:
    """Scale and zero point, which are the inputs from this position on."""
    scale, zero = call.weight(position), call.constant(position + 1)
    if zero is None:
        zero = np.zeros(scale.shape, TYPES.get(call.get("output_dtype", 0), np.uint8))
    hold(scale.dtype == np.float32 and bool((scale > 0).all()), "its scales are not positive float32 numbers", AGAIN)
    hold(zero.dtype in TYPES.values(), "its steps are of other than 8 or 16 bits", AGAIN)
    hold(zero.size == scale.size, "it has not one zero point for each scale", AGAIN)
    return scale, zero


def _grid(call: Call, position: int) -> Grid | None:
    """None: it has a scale for each channel."""
    scale, zero = _pair(call, position)
    if scale.size != 1:
        return None
    limits = np.iinfo(zero.dtype)
    return Grid(np.float32(scale.reshape(())), int(zero.reshape(())), limits.min, limits.max)


def _spread(call: Call, values: Array) -> Array:
    """One number for all of an activation, or one for each entry of an axis, to be broadcast with a sample."""
    if values.size == 1:
        return values.reshape(())
    x, axis = call.activation(), call.get("axis", 1)
    hold(not call.get("block_size", 0), "it has scales for blocks of an activation", AGAIN)
    hold(values.ndim == 1 and -x.rank <= axis < x.rank, "it has not one scale for each entry of an axis", AGAIN)
    return without_batch(values.reshape(-1, *[1] * (x.rank - axis % x.rank - 1)), x)


def quantize(call: Call) -> Steps:
    """QuantizeLinear of an activation."""
    known = (0, *TYPES)
    hold(call.get("output_dtype", 0) in known, "its steps are of other than 8 or 16 bits", AGAIN)
    hold(call.get("precision", 0) in (0, FLOAT), "it divides in other than float32", AGAIN)
    scale, zero = _pair(call, 1)
    limits = np.iinfo(zero.dtype)
    zero = _spread(call, zero.astype(np.int64))
    return (QuantizeLinear(_spread(call, scale), zero, limits.min, limits.max),)


def dequantize(call: Call) -> Steps:
    """DequantizeLinear of an activation."""
    hold(call.get("output_dtype", 0) in (0, FLOAT), "it makes other numbers than float32", AGAIN)
    scale, zero = _pair(call, 1)
    return (DequantizeLinear(_spread(call, scale), _spread(call, zero.astype(np.int64))),)


# Units. Inputs of sums: x with its pair, the weight with its pair, the bias with its pair or a float bias, and, where
# steps are made of it, their pair: 3 + 3 + 3 + 2. Of all others: each activation with its pair, and the output's.

SUM_INPUTS = 11
OWN = {"w_axis": "int", "w_block_size": "int", "relu": "flag"}


def _inner(call: Call, operator: str, *inputs: Value | None) -> Call:
    """The node that stands in the middle."""
    attributes = {name: value for name, value in call.attributes.items() if name not in OWN}
    return replace(call, operator=operator, attributes=attributes, inputs=inputs)


def _alone(call: Call, operator: str, *inputs: Value | None, **attributes: Any) -> Call:
    return replace(call, operator=operator, attributes=attributes, inputs=inputs)


def summed(operator: str, call: Call) -> Steps:
    """Conv, Gemm or MatMul of steps and quantised weights; behind it perhaps Relu, and QuantizeLinear."""
    return _summed(operator, call) or _as_floats(operator, call)


def _summed(operator: str, call: Call) -> Steps | None:
    x, w = _grid(call, 1), call.constant(3)
    weights = None if w is None else _whole(operator, call, w)
    if x is None or weights is None or call.get("alpha", 1.0) != 1 or call.get("beta", 1.0) != 1:
        return None
    whole, scales = weights
    plain = OPERATORS[operator].read(_inner(call, operator, call.activation(), whole))
    if not isinstance(plain, Conv | Linear) or scales.size not in (1, len(plain.weight)):
        return None
    worth = np.asarray(x.scale * scales)  # of one in the sums
    y = None if call.input(9) is None else _grid(call, 9)
    is_fused = y is not None and not (call.get("relu", 0) and y.zero_point != y.low)
    bias, offset = call.constant(6), None
    if bias is not None and bias.dtype.kind == "f":  # onnxruntime rounds it to the worth of the sums, if all is fused
        offset = None if is_fused else bias
        bias = np.rint(bias / worth) if is_fused else None
    elif bias is not None and not np.allclose(call.weight(7), worth, rtol=1e-3, atol=0):
        return None
    if bias is not None:
        hold(bias.shape in ((), (len(plain.weight),)) or bias.size == len(plain.weight), "its bias does not fit")
        bias = np.broadcast_to(bias.reshape(-1), (len(plain.weight),)).astype(np.int64)
    narrow = x.is_byte and largest_sum(plain.weight, bias, BYTE) < NARROW
    by_channel = (-1, *[1] * (plain.weight.ndim - 2)) if scales.size > 1 else ()
    total: Operator
    if isinstance(plain, Conv):
        total = IntegerConv(plain.weight, bias, x.zero_point, narrow, plain.windows, plain.groups)
    else:
        total = IntegerLinear(plain.weight, bias, x.zero_point, narrow)
    if is_fused and y is not None:
        return total, Requantize(np.asarray(worth / y.scale).reshape(by_channel), y.zero_point, y.low, y.high)
    steps: list[Operator] = [total, Mul(worth.reshape(by_channel))]
    if offset is not None:
        steps.append(Add(offset.reshape(-1, *[1] * (plain.weight.ndim - 2))))
    return *steps, *_behind(call)


def _whole(operator: str, call: Call, w: Array) -> tuple[Array, Array] | None:
    """The weights without their zero point, as whole floats, and their scales: one, or one for each output."""
    scale, zero = call.weight(4), call.constant(5)
    outputs = {"Conv": 0, "MatMul": w.ndim - 1}.get(operator, 1 - call.get("transB", 0))
    if w.dtype.kind not in "iu" or w.dtype.itemsize > 2 or scale.dtype != np.float32 or not (scale > 0).all():
        return None
    if scale.size > 1 and (scale.shape != w.shape[outputs : outputs + 1] or call.get("w_axis", 1) % w.ndim != outputs):
        return None
    whole = w.astype(np.int32)
    if zero is not None:
        hold((zero.dtype, zero.size) == (w.dtype, scale.size), "its zero point does not fit", AGAIN)
        whole -= zero.astype(np.int32).reshape(-1, *[1] * (w.ndim - outputs - 1)) if zero.size > 1 else int(zero.item())
    return whole.astype(np.float32), scale.reshape(-1) if scale.size > 1 else scale.reshape(())


def _behind(call: Call) -> Steps:
    """What stands behind the sum, as floats."""
    relu: Steps = (Relu(),) if call.get("relu", 0) else ()
    if call.input(9) is None:
        return relu
    y = _grid(call, 9)
    if y is None:
        raise Refusal("the outputs of a layer are quantised by channel", AGAIN)
    return *relu, QuantizeLinear(np.asarray(y.scale), np.asarray(y.zero_point), y.low, y.high)


def _as_floats(operator: str, call: Call) -> Steps:
    """The same node by node."""
    x, w, bias = call.activation(), call.constant(3), call.constant(6)
    axes = {name[2:]: call.get(name) for name in ("w_axis", "w_block_size") if name in call.attributes}
    weight = fold(_alone(call, "DequantizeLinear", w, call.input(4), call.input(5), **axes))
    if bias is not None and bias.dtype.kind != "f":
        bias = fold(_alone(call, "DequantizeLinear", bias, call.input(7), call.input(8), axis=0))
    inputs = (x, weight) if bias is None else (x, weight, bias)
    first = dequantize(_alone(call, "DequantizeLinear", x, call.input(1), call.input(2)))
    return *first, *OPERATORS[operator].read_in_steps(_inner(call, operator, *inputs)), *_behind(call)


def _grids(call: Call) -> list[Grid]:
    """Those of every activation, and of the output."""
    count = len(call.activations())
    grids = [_grid(call, position) for position in (*range(1, 3 * count, 3), 3 * count)]
    if None in grids:
        raise Refusal("activations are quantised by channel", AGAIN)
    return [grid for grid in grids if grid is not None]


def added(call: Call) -> Steps:
    """Add of two activations' steps. onnxruntime's kernels for x86-64 take signed steps as unsigned ones."""
    a, b, y = _grids(call)
    shift = 2**7 if a.signed else 0
    ratios = (a.scale / y.scale, b.scale / y.scale)
    zeros = [np.float32(grid.zero_point + shift) for grid in (a, b, y)]
    moved = np.float32(np.float64(zeros[0]) * ratios[0] + np.float64(ratios[1] * zeros[1]))  # a fused multiply-add
    offset = zeros[2] - moved
    return (QuantizedAdd((float(ratios[0]), float(ratios[1])), float(offset), shift, y.low, y.high),)


def multiplied(call: Call) -> Steps:
    """Mul of two activations' steps."""
    a, b, y = _grids(call)
    factor = a.scale * b.scale / y.scale
    shift = 2**7 if a.signed else 0
    return (QuantizedMul((a.zero_point, b.zero_point), float(factor), y.zero_point, shift, y.low, y.high),)


def pooled(call: Call) -> Steps:
    """AveragePool of steps."""
    x, y = _grids(call)
    plain = AveragePool.read(_inner(call, "AveragePool", call.activation()))
    if not isinstance(plain, AveragePool) or len(plain.windows.kernel) > 2:
        raise Refusal("it pools steps over three axes", "Leave it out of op_types_to_quantize")
    scales, zeros = (float(x.scale), float(y.scale)), (x.zero_point, y.zero_point)
    shift = 2**7 if x.signed else 0
    return (QuantizedAveragePool(scales, zeros, shift, y.low, y.high, plain.windows, plain.include_pad),)


def softmax(call: Call) -> Steps:
    """Softmax of steps: its exponentials are a table, which onnxruntime scales so that their sums do not overflow."""
    x, y = _grids(call)
    plain = Softmax.read(_inner(call, "Softmax", call.activation()))
    if not isinstance(plain, Softmax):
        raise NotImplementedError
    shape = call.activation().shape
    along = prod(shape[plain.axis :]) if plain.trailing else shape[plain.axis]
    room = max(0.0, float(np.log(np.finfo(np.float32).max / np.float32(along))) - 5) / float(x.scale)
    table = np.exp((np.arange(256) - 255 + room) * float(x.scale)).astype(np.float32)
    most = float(np.floor(np.float32(1) / y.scale))
    return (QuantizedSoftmax(table, most, y.zero_point, y.low, y.high, plain.axis, plain.trailing),)


def averaged(call: Call) -> Steps:
    """GlobalAveragePool of steps."""
    x, y = _grids(call)
    GlobalAveragePool().check(call.activation().shape)
    factor = x.scale / (y.scale * np.float32(prod(call.activation().shape[1:])))
    return PixelSum(x.zero_point), Requantize(np.asarray(factor), y.zero_point, y.low, y.high)
