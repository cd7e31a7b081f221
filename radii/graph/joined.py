"""The batch joined with the axis after it: (batch * rows, ...) in the file, (batch, rows, ...) here.

Exporters write attention, windows and patches so: reshaped to one leading axis, worked on, and reshaped back. The
values are the same in memory, so nothing is computed for it: `Activation.joined` remembers that the file counts two
axes as one, and what acts on the axes behind them is read with its axes moved by one.
"""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from radii.graph.affine import BATCH, Affine
from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal

REMEDY = "Keep the batch as the first axis, and out of the operation"

# Operators that treat every row of the first axis alike, and whose axes are the attribute named, or none.
ROW_BY_ROW = {
    **dict.fromkeys(("Transpose",), "perm"),
    **dict.fromkeys(("LayerNormalization", "LogSoftmax", "Softmax"), "axis"),
    **dict.fromkeys(
        [
            "Abs",
            "Add",
            "Cast",
            "Clip",
            "Div",
            "Dropout",
            "Elu",
            "Erf",
            "Exp",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "IsNaN",
            "LeakyRelu",
            "Log",
            "MatMul",
            "Mish",
            "Mul",
            "Neg",
            "Pow",
            "Reciprocal",
            "Relu",
            "Selu",
            "Sigmoid",
            "Softplus",
            "Softsign",
            "Sqrt",
            "Sub",
            "Swish",
            "Tanh",
            "Where",
        ],
        "",
    ),
}


def axes_apart(call: Call) -> tuple[Call, bool]:
    """The call as if the file kept the batch and the rows apart, and whether it joins them in what it makes."""
    if call.operator == "Reshape" and isinstance(call.input(0), Activation):
        return _reshape(call)
    if call.operator == "Flatten" and not call.activation().joined:
        x, axis = call.activation(), int(call.get("axis", 1))
        rows = prod(x.shape[: axis - 1]) if 1 < axis <= x.rank else 1
        if rows == 1:
            return call, False
        apart = np.empty(3, dtype=object)
        apart[:] = [BATCH, rows, prod(x.shape[axis - 1 :])]
        return replace(call, operator="Reshape", inputs=(x, apart), attributes={}), True
    activations = call.activations()
    if not any(value.joined for value in activations):
        return call, False
    rank = activations[0].rank
    alike = all(
        value.joined and (value.rank, value.shape[0]) == (rank, activations[0].shape[0]) for value in activations
    )
    if call.operator not in ROW_BY_ROW or not alike:
        raise Refusal("it works on samples of the batch that are joined with another axis", REMEDY)
    if call.operator == "MatMul" and rank == 2 and isinstance(call.input(1), Activation):
        raise Refusal("it sums over samples of the batch", REMEDY)
    for value in call.inputs:
        if call.operator == "MatMul" and isinstance(value, np.ndarray) and value.ndim == 2:
            continue  # a matrix on the last two axes, which are not the batch
        if isinstance(value, np.ndarray) and (value.ndim > rank or (value.ndim == rank and value.shape[0] != 1)):
            raise Refusal("a constant has a batch axis of its own", "Give constants the shape of one sample")
    inputs = tuple(replace(value, joined=False) if isinstance(value, Activation) else value for value in call.inputs)
    return replace(call, inputs=inputs, attributes=_moved(call, ROW_BY_ROW[call.operator], rank)), True


def _moved(call: Call, name: str, rank: int) -> dict[str, Any]:
    """The attributes, axes moved by one."""
    attributes = dict(call.attributes)
    if name == "perm":
        permutation = call.get("perm", range(rank)[::-1])
        if permutation[0] != 0:
            raise Refusal("it moves the batch from the first axis", REMEDY)
        attributes["perm"] = (0, *(axis + 1 for axis in permutation))
    elif name == "axis":
        old = call.operator != "LayerNormalization" and call.opset < 13
        axis = call.get("axis", 1 if old else -1)
        axis = axis + rank if axis < 0 else axis
        if axis < 1:
            raise Refusal("it works along the batch axis", REMEDY)
        attributes["axis"] = axis + 1
    return attributes


def _reshape(call: Call) -> tuple[Call, bool]:
    """Targets resolved where rows are joined, before or after; any other reshape as it is."""
    x, given = call.activation(), call.constant(1)
    if given is None or given.ndim != 1 or given.dtype.kind not in "iuO" or not len(given):
        return call, False  # refused in its own words
    file = [BATCH * x.shape[0] if x.joined else BATCH, *x.shape[x.joined :]]
    target: list[Any] = list(given)
    if not call.get("allowzero", 0):
        target = [
            file[i] if i < len(file) and not isinstance(size, Affine) and size == 0 else size
            for i, size in enumerate(target)
        ]
    rows = _rows(target, prod(x.shape), call.fixed_batch)
    if rows is None:
        if x.joined:
            raise Refusal("samples of the batch are joined or cut", REMEDY)
        return call, False
    if rows == 1 and not x.joined:
        return call, False
    apart = np.empty(len(target) + (rows > 1), dtype=object)
    apart[:] = [BATCH, *([rows] if rows > 1 else []), *target[1:]]
    return replace(call, inputs=(replace(x, joined=False), apart), attributes={}), rows > 1


def _rows(target: list[Any], elements: int, fixed_batch: bool) -> int | None:
    """How many rows of the target's first axis belong to one sample; None where it is no such shape."""
    head, rest = target[0], target[1:]
    if any(isinstance(size, Affine) or (size < 1 and size != -1) for size in rest):
        return None
    known, free = prod(int(size) for size in rest if size != -1), sum(size == -1 for size in rest)
    if isinstance(head, Affine):
        rows = head.slope if head.offset == 0 else 0
    elif head == -1 and not free:
        rows = elements // known
    else:
        rows = int(head) if fixed_batch else 0
    if rows < 1 or free > 1 or elements % (rows * known) or (not free and elements != rows * known):
        return None
    return rows
