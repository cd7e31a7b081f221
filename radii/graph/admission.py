"""What an operator must be, whoever made it: the invariants that `run`, `shape` and `lipschitz` rely on.

An operator read from ONNX has them by construction. One that was written in the canonical form by a stranger is
checked here: a dilation that `run` leaves out and `lipschitz` counts would be a false certificate. An operator
without a rule is not accepted in the canonical form.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite, prod
from typing import Any

import numpy as np

from radii.graph.errors import Obstacle, Refusal, UnsupportedModel
from radii.graph.ir import Graph, Operator, Shape
from radii.graph.limits import Limits
from radii.graph.ops import activation as act
from radii.graph.ops import (
    conv,
    elementwise,
    layout,
    linear,
    normalization,
    parametric,
    pool,
    reduce,
    select,
    threshold,
)
from radii.graph.ops.windows import LARGEST, Windows

REMEDY = "Write the operator as radii.graph writes it (docs/graph-format.md)"
MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError, MemoryError)  # as in the ONNX reader

Rule = Callable[[Any, Sequence[Shape]], None]
RULES: dict[type[Operator], tuple[float, float, Rule]] = {}  # fewest and most inputs, and what else must hold


def admit(operator: Operator, inputs: Sequence[Shape], limits: Limits) -> Shape:
    """The shape a sample that ``operator`` makes. Raises `Refusal` for anything it must not be."""
    fewest, most, rule = RULES[type(operator)]
    _hold(fewest <= len(inputs) <= most, f"it has {len(inputs)} inputs")
    for name, array in operator.arrays().items():
        wanted = "i" if name == "indices" else "f"
        _hold(array.dtype.kind == wanted, f"the array {name} is of the wrong type")
        if not np.isfinite(array).all():
            raise Refusal("a weight is infinite or not a number", "Train the model again, or repair that weight")
    try:
        rule(operator, inputs)
        shape = operator.shape(*inputs)
    except MALFORMED as error:
        raise Refusal(f"its fields contradict each other ({type(error).__name__})", REMEDY) from None
    if prod(shape) > limits.activation_elements:
        raise Refusal(
            f"it makes {prod(shape)} entries a sample, over the limit of {limits.activation_elements}",
            "Use a smaller input or a smaller model",
        )
    _hold(min(shape, default=1) >= 1, "it makes an empty tensor")
    return shape


def admitted(graph: Graph, limits: Limits) -> Graph:
    """``graph``, if it is a classifier within the limits. Raises `UnsupportedModel`."""
    obstacles = [
        Obstacle(
            node.index, node.operator.name, "a weight overflows when it is multiplied out", "Train the model again"
        )
        for node in graph.nodes
        if not finite(node.operator)
    ]
    output = graph.shapes[graph.output]
    if len(output) != 1 or output[0] < 2:
        words = f"the output has the shape (batch, {', '.join(map(str, output))})"
        obstacles.append(Obstacle(None, "", words, "It must be logits of shape (batch, classes), two classes or more"))
    peak = graph.peak_elements()
    if peak > limits.activation_elements:
        words = f"one sample needs {peak} activation entries at once, over the limit of {limits.activation_elements}"
        obstacles.append(Obstacle(None, "", words, "Use a smaller input or a smaller model"))
    if obstacles:
        raise UnsupportedModel(obstacles)
    return graph


def finite(operator: Operator) -> bool:
    """Whether all of an operator's numbers are."""
    numbers = (value for value in operator.settings().values() if isinstance(value, float))
    return all(np.isfinite(array).all() for array in operator.arrays().values()) and all(map(isfinite, numbers))


def _hold(true: bool, otherwise: str) -> None:
    if not true:
        raise Refusal(otherwise, REMEDY)


def _rule(*classes: type[Operator], fewest: float = 1, most: float = 1) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(classes, (fewest, most, rule)))
        return rule

    return enter


@_rule(
    *(act.Relu, act.Tanh, act.Softplus, act.Softsign, act.Abs, act.Neg, act.Sigmoid, act.HardSwish, act.Mish, act.Erf),
    *(act.Exp, act.Sqrt, act.Log, act.Reciprocal, act.Sin, act.Cos),
    *(threshold.Not, threshold.IsNaN, threshold.Sign, layout.Truth),
    *(parametric.Pow, parametric.LeakyRelu, parametric.Elu, parametric.Selu, parametric.HardSigmoid, parametric.Clip),
)
def _anything(operator: Any, inputs: Sequence[Shape]) -> None:
    """Every value of its fields is a function that it runs and bounds."""


@_rule(act.Gelu)
def _gelu(operator: act.Gelu, inputs: Sequence[Shape]) -> None:
    _hold(operator.approximate in ("none", "tanh"), "approximate is neither none nor tanh")


@_rule(parametric.Celu)
def _celu(operator: parametric.Celu, inputs: Sequence[Shape]) -> None:
    _hold(operator.alpha > 0, "alpha is not positive")


@_rule(parametric.PRelu)
def _prelu(operator: parametric.PRelu, inputs: Sequence[Shape]) -> None:
    _hold(np.broadcast_shapes(operator.slope.shape, inputs[0]) == inputs[0], "the slope is larger than its input")


@_rule(
    *(elementwise.Add, elementwise.Sub, elementwise.Mul, elementwise.Div),
    *(threshold.Greater, threshold.GreaterOrEqual, threshold.Less, threshold.LessOrEqual, threshold.Equal),
    most=2,
)
def _binary(operator: elementwise.Binary, inputs: Sequence[Shape]) -> None:
    _hold(len(inputs) == 1 + (operator.constant is None), "it needs two operands, one of them may be its constant")
    _constant(operator.constant, inputs)
    if isinstance(operator, elementwise.Div) and operator.constant is not None and not operator.constant_first:
        _hold(bool(np.all(operator.constant)), "a divisor is zero")


@_rule(elementwise.Sum, most=inf)
def _sum(operator: elementwise.Sum, inputs: Sequence[Shape]) -> None:
    _constant(operator.constant, inputs)


def _constant(constant: np.ndarray | None, inputs: Sequence[Shape]) -> None:
    _hold(constant is None or constant.ndim <= len(inputs[0]), "the constant has an axis more than a sample")


@_rule(layout.Reshape, layout.Flatten, layout.Squeeze, layout.Unsqueeze)
def _reshape(operator: layout.Reshape, inputs: Sequence[Shape]) -> None:
    _hold(len(operator.target) <= 16 and all(size >= 1 for size in operator.target), "a size is not positive")


@_rule(layout.Transpose)
def _transpose(operator: layout.Transpose, inputs: Sequence[Shape]) -> None:
    _hold(sorted(operator.permutation) == list(range(len(inputs[0]))), "it is no permutation of the axes")


@_rule(conv.Conv)
def _conv(operator: conv.Conv, inputs: Sequence[Shape]) -> None:
    weight, groups = operator.weight, operator.groups
    _hold(weight.ndim == len(inputs[0]) + 1 and min(weight.shape) >= 1, "the kernel has not the axes of its input")
    _windows(operator.windows, inputs[0])
    _hold(operator.windows.kernel == weight.shape[2:] and not operator.windows.ceil, "the windows are not its kernel's")
    _hold(
        groups >= 1 and weight.shape[0] % groups == 0 and inputs[0][0] == weight.shape[1] * groups,
        "the channels do not fit its groups",
    )
    _hold(operator.bias is None or operator.bias.shape == weight.shape[:1], "the bias has not one entry a channel")


def _windows(windows: Windows, shape: Shape) -> None:
    axes = len(windows.kernel)
    _hold(1 <= axes <= 3 and len(shape) == axes + 1, "the windows have not the axes of its input")
    _hold(
        len(windows.strides) == len(windows.dilations) == len(windows.pads) == axes, "the windows contradict themselves"
    )
    lengths = (*windows.kernel, *windows.strides, *windows.dilations)
    _hold(
        all(1 <= value <= LARGEST for value in lengths), "kernel, strides and dilations must be positive and sensible"
    )
    _hold(all(0 <= pad <= LARGEST for pads in windows.pads for pad in pads), "pads must not be negative, nor huge")


@_rule(pool.MaxPool, pool.AveragePool)
def _pool(operator: pool.Pool, inputs: Sequence[Shape]) -> None:
    windows, sizes = operator.windows, inputs[0][1:]
    _windows(windows, inputs[0])
    for taps, size in zip(windows.taps(sizes), sizes, strict=True):
        _hold(bool(((taps >= 0) & (taps < size)).any(axis=1).all()), "a window lies in the padding alone")
    dilated = isinstance(operator, pool.AveragePool) and any(d != 1 for d in windows.dilations)
    _hold(not dilated, "a dilated average pooling is not supported")


@_rule(pool.GlobalAveragePool)
def _global_pool(operator: pool.GlobalAveragePool, inputs: Sequence[Shape]) -> None:
    _hold(len(inputs[0]) >= 2, "its input has no spatial axes")


@_rule(
    *(reduce.ReduceMean, reduce.ReduceSum, reduce.ReduceMax, reduce.ReduceMin, reduce.ReduceL1, reduce.ReduceL2),
    *(reduce.ReduceLogSumExp, reduce.ReduceSumSquare),
)
def _reduction(operator: reduce.Reduction, inputs: Sequence[Shape]) -> None:
    _hold(bool(operator.axes), "the reduction is over no axis")
    _axes(operator.axes, inputs[0])


def _axes(axes: Sequence[int], shape: Shape) -> None:
    _hold(list(axes) == sorted(set(axes)), "the axes are not in order, each once")
    _hold(all(0 <= axis < len(shape) for axis in axes), "an axis is out of range")


@_rule(linear.Gemm, linear.MatMul)
def _linear(operator: linear.Linear, inputs: Sequence[Shape]) -> None:
    weight, bias = operator.weight, operator.bias
    _hold(weight.ndim == 2, "the matrix has not two axes")
    _hold(bias is None or bias.shape == weight.shape[:1], "the bias has not one entry a row")


@_rule(linear.LeftMatMul)
def _left(operator: linear.LeftMatMul, inputs: Sequence[Shape]) -> None:
    _hold(operator.weight.ndim == 2, "the matrix has not two axes")


@_rule(linear.Product, fewest=2, most=2)
def _product(operator: linear.Product, inputs: Sequence[Shape]) -> None:
    """Its `shape` says it all."""


@_rule(normalization.BatchNormalization)
def _batch_norm(operator: normalization.BatchNormalization, inputs: Sequence[Shape]) -> None:
    one_each = inputs[0][:1]
    _hold(operator.scale.shape == operator.offset.shape == one_each != (), "it has not one entry a channel")


@_rule(normalization.LayerNormalization)
def _layer_norm(operator: normalization.LayerNormalization, inputs: Sequence[Shape]) -> None:
    _axes((operator.axis,), inputs[0])
    inner = inputs[0][operator.axis :]
    _hold(operator.scale.shape == inner, "the scale has not the shape of what is normalised")
    _hold(operator.bias is None or operator.bias.shape == inner, "the bias has not the shape of what is normalised")
    _hold(operator.epsilon >= 0, "epsilon is negative")


@_rule(normalization.Softmax, normalization.LogSoftmax)
def _softmax(operator: normalization.Softmax, inputs: Sequence[Shape]) -> None:
    _axes((operator.axis,), inputs[0])


@_rule(select.Gather)
def _gather(operator: select.Gather, inputs: Sequence[Shape]) -> None:
    _axes((operator.axis,), inputs[0])
    indices, size = operator.indices, inputs[0][operator.axis]
    _hold(indices.dtype == np.int64 and indices.size > 0, "the indices are not int64, or none")
    _hold(bool(indices.min() >= 0 and indices.max() < size), f"an index is outside an axis of size {size}")


@_rule(select.Slice)
def _slice(operator: select.Slice, inputs: Sequence[Shape]) -> None:
    _axes(operator.axes, inputs[0])
    _hold(len(operator.axes) == len(operator.ranges), "it has not one range an axis")
    for axis, (start, stop, step) in zip(operator.axes, operator.ranges, strict=True):
        size = inputs[0][axis]
        _hold(step != 0 and abs(step) <= LARGEST, "the step is zero, or huge")
        _hold(0 <= start < size and -1 <= stop <= size, f"a range leaves an axis of size {size}")


@_rule(select.Pad)
def _pad(operator: select.Pad, inputs: Sequence[Shape]) -> None:
    _hold(operator.mode in ("constant", "reflect", "edge", "wrap"), "the mode is unknown")
    _hold(len(operator.pads) == len(inputs[0]), "it has not a pair of pads for every axis of a sample")
    for size, (low, high) in zip(inputs[0], operator.pads, strict=True):
        _hold(max(abs(low), abs(high)) <= LARGEST, "a pad is huge")
        _hold(min(low, high) >= 0 or operator.mode == "constant", "a negative pad is supported with a constant only")
        _hold(size + min(low, 0) + min(high, 0) >= 1, "it cuts everything off")
        longest = size - (operator.mode == "reflect")
        _hold(max(low, high) <= longest or operator.mode not in ("reflect", "wrap"), "a pad is longer than the input")


@_rule(select.Concat, fewest=2, most=inf)
def _concat(operator: select.Concat, inputs: Sequence[Shape]) -> None:
    _axes((operator.axis,), inputs[0])
