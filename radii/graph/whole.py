"""A file read at a batch of its own: at 1 what it makes of one sample, at 2 to test that samples keep apart.

There the file's batch is an axis of our sample like any other (`Activation.whole`), behind a batch that is ours. So
sizes are plain integers, wherever the file moves its batch, and samples can't mix. An operator is read in one of these
views of its inputs; between views values stay where they are in memory, so they cost a reshape at most, or nothing:

- the same function at every entry: as they lie there;
- a first axis of size 1, and the operator leaves it alone: it is taken for our batch, as in any other file;
- (n, channels, ...): as n * channels channels, in n times as many groups;
- anything else: with our batch in front, and its axes counted from there.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from string import ascii_letters
from typing import NamedTuple

import numpy as np

from radii.graph.call import Activation, Call
from radii.graph.errors import Refusal
from radii.graph.folding import fold
from radii.graph.ops import OPERATORS
from radii.graph.ops.activation import Univariate
from radii.graph.ops.elementwise import Binary, Extreme, Sum
from radii.graph.ops.layout import Identity
from radii.graph.ops.parametric import PRelu
from radii.graph.ops.reduce import Reduction
from radii.graph.ops.threshold import Where

Shape = tuple[int, ...]

ENTRYWISE = (Univariate, Identity)
BROADCAST = (Univariate, Identity, Binary, Sum, Extreme, Where, PRelu)

# (batch, channels, ...) in and out: the constants with an entry a channel or group, the attribute that counts groups
BY_CHANNEL: dict[str, tuple[tuple[int, ...], str]] = {
    "Conv": ((1, 2), "group"),
    "ConvTranspose": ((1, 2), "group"),
    "GroupNormalization": ((1, 2), "num_groups"),
    "InstanceNormalization": ((1, 2), ""),
    "BatchNormalization": ((1, 2, 3, 4), ""),
    **dict.fromkeys(["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Col2Im"], ((), "")),
}
# the attribute ``axis``, and its default
AXIS = {"Softmax": -1, "LogSoftmax": -1, "LayerNormalization": -1, "RMSNormalization": -1, "TopK": -1}
AXIS |= {"Concat": 0, "Gather": 0, "Split": 0}
# ``axes``, an attribute or the input of this number; reductions too
AXES = {"Slice": 3, "Pad": 3, "Resize": None, "Upsample": None}
OTHERS = ("Einsum", "Expand", "MatMul", "Tile", "Transpose")


class View(NamedTuple):
    """One way to read an operator."""

    call: Call
    shapes: tuple[Shape, ...]  # what its activations are run as, our batch left out
    file: Callable[[Shape], Shape]  # from the shape that it makes of these to the file's own


def relabelled(call: Call) -> Shape | None:
    """The file's shape for what lies in memory as the input does: of a Reshape, say. None: of anything else."""
    if call.operator == "Transpose":
        x = call.activation()
        order = call.get("perm", range(len(x.shape))[::-1])
        moved = [axis for axis in order if x.shape[axis] != 1]
        in_place = sorted(order) == list(range(len(x.shape))) and moved == sorted(moved)
        return tuple(x.shape[axis] for axis in order) if in_place else None
    if call.operator not in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return None
    empty = np.broadcast_to(np.float32(0), call.activation().shape)  # a shape, and no memory
    made: Shape = fold(replace(call, inputs=(empty, *call.inputs[1:]))).shape
    return made


def views(call: Call, lying: Callable[[Activation], Shape]) -> Iterator[View]:
    """The ways to read an operator, the leanest first; ``lying`` is the shape that a value has in our graph."""
    inputs = call.activations()
    operator = OPERATORS.get(call.operator, Identity)
    if issubclass(operator, ENTRYWISE) and len(inputs) == 1 and _rank(call) == len(inputs[0].shape):
        yield _view(call, [lying(inputs[0])], lambda _: inputs[0].shape)
    if all(x.shape[:1] == (1,) for x in inputs):
        yield _view(call, [x.shape[1:] for x in inputs], lambda made: (1, *made))
    if call.operator in BY_CHANNEL or call.operator == "Attention":
        yield _by_channel(call)
    elif call.operator == "Gemm":  # read as the layer of one row, run on all of them
        yield _view(call, [x.shape[1:] for x in inputs], lambda made: made)._replace(
            shapes=tuple(x.shape for x in inputs)
        )
    elif call.operator in (*AXIS, *AXES, *OTHERS) or issubclass(operator, (*BROADCAST, Reduction)):
        yield _shifted(call)


def _view(call: Call, shapes: list[Shape], file: Callable[[Shape], Shape]) -> View:
    left = iter(shapes)
    inputs = tuple(
        Activation(value.id, next(left)) if isinstance(value, Activation) else value for value in call.inputs
    )
    return View(replace(call, inputs=inputs), tuple(shapes), file)


def _rank(call: Call) -> int:
    """The most axes that an input has."""
    return max(len(value.shape) for value in call.inputs if value is not None)


def _by_channel(call: Call) -> View:
    """Rows of the file's first axis side by side, as channels, or as heads of an attention."""
    inputs, attributes = list(call.inputs), dict(call.attributes)
    x = call.activations()[0]
    rows = x.shape[0] if len(x.shape) > 1 else 0
    alike = all(len(other.shape) == len(x.shape) and other.shape[0] == rows for other in call.activations())
    if not rows or not alike or (call.operator == "Attention" and len(x.shape) != 4):
        raise Refusal(
            "its input's first axis is neither the batch nor one beside the channels", "Keep the batch in front"
        )
    repeated, groups = BY_CHANNEL.get(call.operator, ((), ""))
    for position in repeated:
        value = call.constant(position)
        if value is not None and value.ndim:
            call.limits.check_made((rows, *value.shape), value.size)
            inputs[position] = np.tile(value, (rows, *[1] * (value.ndim - 1)))
    if groups:
        attributes[groups] = rows * call.get(groups, 1)
    if call.operator == "Attention" and (mask := call.constant(3)) is not None and mask.ndim > 2:
        full = (*x.shape[:2], *mask.shape[-2:])
        call.limits.check_made(full, mask.size)
        inputs[3] = np.broadcast_to(mask, full).reshape(1, -1, *mask.shape[-2:])
    shapes = [(value.shape[0] * value.shape[1], *value.shape[2:]) for value in call.activations()]
    return _view(
        replace(call, inputs=tuple(inputs), attributes=attributes),
        shapes,
        lambda made: (rows, made[0] // rows, *made[1:]),
    )


def _shifted(call: Call) -> View:
    """The same with an axis in front of every activation: what counts axes from the first counts one more."""
    inputs, attributes = list(call.inputs), dict(call.attributes)
    shapes = [x.shape for x in call.activations()]
    rank, operator = len(shapes[0]), OPERATORS[call.operator]
    if call.operator in AXIS:
        old = call.operator in ("Softmax", "LogSoftmax") and call.opset < 13
        attributes["axis"] = _behind(call.get("axis", 1 if old else AXIS[call.operator]))
        if call.operator == "Concat":
            inputs = [value[None] if isinstance(value, np.ndarray) else value for value in inputs]
    elif call.operator in AXES or issubclass(operator, Reduction):
        position = AXES.get(call.operator, 1)
        axes = call.get("axes") if position is None else call.integers(position, "axes")
        if axes or not call.get("noop_with_empty_axes", 0):
            all_of_them = range(len(call.integers(1, "starts") or ()) if call.operator == "Slice" else rank)
            attributes["axes"] = tuple(map(_behind, axes or all_of_them))
            if position is not None:
                inputs[position:] = [None, *inputs[position + 1 :]] if position < len(inputs) else []
    elif call.operator == "Transpose":
        attributes["perm"] = (0, *map(_behind, call.get("perm", range(rank)[::-1])))
    elif call.operator == "Tile":
        inputs[1] = np.array([1, *(call.integers(1, "repeats") or ())])
    elif call.operator == "Einsum":
        attributes["equation"] = _with_another_letter(call)
    else:
        target = call.integers(1, "shape") if call.operator == "Expand" else None
        rank = max(_rank(call), len(target or ()))
        if call.operator != "MatMul" or all(len(shape) > 1 for shape in shapes):  # which has its own rule for vectors
            shapes = [(*[1] * (rank - len(shape)), *shape) for shape in shapes]
    return _view(replace(call, inputs=tuple(inputs), attributes=attributes), shapes, lambda made: made)


def _behind(axis: int) -> int:
    """An axis, one further from the first; from the last it is as far as before."""
    return axis + 1 if axis >= 0 else axis


def _with_another_letter(call: Call) -> str:
    """An equation of Einsum with a letter for our batch in front of its activations and its output."""
    left, arrow, output = call.get("equation", "").replace(" ", "").partition("->")
    letter = next((letter for letter in ascii_letters if letter not in left + output), "")
    terms = left.split(",")
    if not arrow or not letter or len(terms) != len(call.inputs):
        raise Refusal("the equation must name every axis and the output's, by letters", "Write it out in full")
    fronted = (
        letter + term if isinstance(value, Activation) else term for term, value in zip(terms, call.inputs, strict=True)
    )
    return f"{','.join(fronted)}->{letter}{output}"
