"""Views of a node whose activations hold the file's batch as an axis of a sample (:mod:`radii.graph.fixed_batch`).

An operator that can be read so says in `Operator.viewed` which of these it is read in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from radii.graph.call import Activation, Call, Value
from radii.graph.errors import Refusal

Shape = tuple[int, ...]


class View(NamedTuple):
    """One way to read an operator."""

    call: Call
    shapes: tuple[Shape, ...]  # what its activations are run as, our batch left out
    file: Callable[[Shape], Shape]  # from the shape that it makes of these to the file's own


def seen_as(call: Call, shapes: Sequence[Shape], file: Callable[[Shape], Shape]) -> View:
    """The view in which activations have these shapes."""
    left = iter(shapes)
    inputs = tuple(
        Activation(value.id, next(left)) if isinstance(value, Activation) else value for value in call.inputs
    )
    return View(replace(call, inputs=inputs), tuple(shapes), file)


def most_axes(call: Call) -> int:
    """The most axes that an input has."""
    return max(len(value.shape) for value in call.inputs if value is not None)


def by_channel(call: Call, repeated: Sequence[int] = (), groups: str = "") -> View:
    """Rows of the file's first axis side by side, as channels: (n, channels, ...) as n * channels channels.

    Args:
        repeated: the inputs that are constants with an entry a channel or a group.
        groups: the attribute that counts groups.
    """
    inputs, attributes = list(call.inputs), dict(call.attributes)
    x = call.activations()[0]
    rows = x.shape[0] if len(x.shape) > 1 else 0
    if not rows or any(len(other.shape) != len(x.shape) or other.shape[0] != rows for other in call.activations()):
        raise not_beside_channels()
    for position in repeated:
        value = call.constant(position)
        if value is not None and value.ndim:
            call.limits.check_made((rows, *value.shape), value.size)
            inputs[position] = np.tile(value, (rows, *[1] * (value.ndim - 1)))
    if groups:
        attributes[groups] = rows * call.get(groups, 1)
    shapes = [(value.shape[0] * value.shape[1], *value.shape[2:]) for value in call.activations()]
    return seen_as(
        replace(call, inputs=tuple(inputs), attributes=attributes),
        shapes,
        lambda made: (rows, made[0] // rows, *made[1:]),
    )


def not_beside_channels() -> Refusal:
    """Why there is no view by channels."""
    return Refusal("its input's first axis is neither the batch nor one beside the channels", "Keep the batch in front")


def shifted(
    call: Call, *, inputs: Sequence[Value | None] = (), shapes: Sequence[Shape] = (), **attributes: Any
) -> View:
    """The same with an axis in front of every activation; ``inputs``, ``shapes`` and ``attributes`` instead of its own,
    where it counts axes from the first."""
    moved = replace(call, inputs=tuple(inputs) or call.inputs, attributes={**call.attributes, **attributes})
    return seen_as(moved, shapes or [x.shape for x in call.activations()], lambda made: made)


def axis_shifted(call: Call, default: int) -> View:
    """What works along the attribute ``axis``."""
    return shifted(call, axis=behind(call.get("axis", default)))


def axes_shifted(call: Call, position: int | None, count: int | None = None) -> View:
    """What works along ``axes``: an attribute, or the input of this position, or else the first ``count`` or all."""
    axes = call.get("axes") if position is None else call.integers(position, "axes")
    if not axes and call.get("noop_with_empty_axes", 0):
        return shifted(call)
    inputs = list(call.inputs)
    if position is not None and position < len(inputs):
        inputs[position] = None
    all_of_them = range(len(call.activations()[0].shape) if count is None else count)
    return shifted(call, inputs=inputs, axes=tuple(map(behind, axes or all_of_them)))


def broadcast_shifted(call: Call, least: int = 0) -> View:
    """What is broadcast: activations get axes of size 1, as many as the others have, and ``least``."""
    rank = max(most_axes(call), least)
    return shifted(call, shapes=[(*[1] * (rank - len(x.shape)), *x.shape) for x in call.activations()])


def behind(axis: int) -> int:
    """An axis, one further from the first; from the last it is as far as before."""
    return axis + 1 if axis >= 0 else axis
