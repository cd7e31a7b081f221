"""Activations and constants broadcast with each other, as ONNX does it, the batch kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from radii.graph import rules
from radii.graph.bounds import sqrt_up
from radii.graph.call import Activation
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Shape


def per_sample(constant: np.ndarray, x: Activation) -> np.ndarray:
    """A constant to be broadcast with ``x``, without the batch axis.

    Raises `Refusal` where it has an axis more than ``x``, or tells one sample of the batch from another.
    """
    if constant.dtype.kind != "f":
        raise Refusal("a constant that meets an activation must be floats", "Export the model in float32")
    return without_batch(constant, x)


def without_batch(constant: np.ndarray, x: Activation) -> np.ndarray:
    """The same for a constant of any type."""
    if constant.ndim > x.rank or (constant.ndim == x.rank and constant.shape[0] != 1):
        raise Refusal(
            "a constant has a batch axis of its own, so samples would be treated differently",
            "Give constants the shape of one sample",
        )
    return constant.reshape(constant.shape[1:]) if constant.ndim == x.rank else constant


def check_constant(constant: np.ndarray | None, x: Shape) -> None:
    """`Refusal` unless a constant, if there is one, may be broadcast with samples of shape ``x``."""
    hold(constant is None or constant.ndim <= len(x), "a constant has an axis more than a sample")


def by_channel_of(constant: np.ndarray, shape: Shape) -> np.ndarray | None:
    """(channels,) in float64: what a constant has for each channel of samples of this shape; None: it has more."""
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if not shape or len(sizes) != len(shape) or any(size != 1 for size in sizes[1:]):
        return None
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), shape[:1])


def broadcast(*shapes: Shape) -> Shape:
    """The shape a sample that activations of these shapes make; their batch axes must meet."""
    if len({len(shape) for shape in shapes}) > 1:
        raise Refusal(
            "activations of different rank are broadcast, so the batch meets another axis",
            "Give them the same number of axes",
        )
    return np.broadcast_shapes(*shapes)


def sum_rule(coefficients: Sequence[float], inputs: Sequence[Shape], output: Shape) -> rules.Sum:
    """``sum c_i x_i`` with c_i = +-1; an input that is broadcast counts the square root of its copies."""
    copies = [prod(output) // prod(shape) for shape in inputs]
    if all(count == 1 for count in copies):
        return rules.Sum(tuple(coefficients))
    bounds = (c * sqrt_up(count) for c, count in zip(coefficients, copies, strict=True))
    return rules.Sum(tuple(bounds), exact=False)


def choice_rule(inputs: Sequence[Shape], output: Shape) -> rules.Rule:
    """Where each entry of the output moves no more than some one of its operands' entries does.

    So its square is at most the sum of their squares; an input that is broadcast counts once a copy.
    """
    copies = [sqrt_up(prod(output) // prod(shape)) for shape in inputs]
    if len(copies) == 1:
        return rules.Slope(copies[0])
    return rules.Concat() if set(copies) == {1.0} else rules.Sum(tuple(copies), exact=False)
