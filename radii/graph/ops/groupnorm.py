"""Normalisation by a sample's own statistics, of groups of channels or of neighbours: all vacuous but LRN.
Formulas: docs/numerics.md 2.8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from radii.graph.bounds import slope, up
from radii.graph.call import Call
from radii.graph.errors import Refusal, hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.layout import sample_axis
from radii.graph.ops.normalization import check_statistics
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule, Unbounded
from radii.graph.views import View, axis_shifted, by_channel

if TYPE_CHECKING:
    from torch import Tensor


def read_epsilon(call: Call) -> float:
    """The epsilon of a normalisation, whose statistics are taken in float32 or better."""
    if call.get("stash_type", 1) not in (1, 11):  # TensorProto.FLOAT, DOUBLE
        raise Refusal("statistics in low precision are not supported", "Export the model in float32")
    return float(call.get("epsilon", 1e-5))


def statistics_rule(scale: np.ndarray, epsilon: float) -> Rule:
    """Around a constant sample, ``x -> scale x / sqrt(epsilon)``, is where these are steepest."""
    if not epsilon:
        return Unbounded("a normalisation without epsilon is infinitely steep", "Use smoothing")
    return slope(up(float(np.max(np.abs(scale))) / math.sqrt(epsilon)))


@onnx_operator(inputs=3, epsilon="float", num_groups="int", stash_type="int")
@dataclass(frozen=True, eq=False)
class GroupNormalization(Operator):
    """Normalises ``groups`` groups of channels by mean and variance. Opset 18 has a scale a group, 21 one a channel."""

    behaviour = "max |gamma|/sqrt(epsilon): sound, and vacuous in practice"
    scale: np.ndarray  # (channels,)
    bias: np.ndarray
    groups: int
    epsilon: float

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, groups = call.activation(), call.get("num_groups", 0)
        if groups < 1 or x.shape[0] % groups:
            raise Refusal(f"{x.shape[0]} channels do not fall into {groups} groups", "Export the model again")
        scale, bias = call.weight(1), call.weight(2)
        entries = groups if call.opset < 21 else x.shape[0]
        if scale.shape != (entries,) or bias.shape != (entries,):
            raise Refusal(f"scale and bias do not have {entries} entries", "Export the model again")
        copies = x.shape[0] // entries
        return cls(np.repeat(scale, copies), np.repeat(bias, copies), groups, read_epsilon(call))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        whole = len(x) >= 2 and self.groups >= 1 and x[0] % self.groups == 0
        hold(whole, f"an input of shape {list(x)} does not fall into {self.groups} groups of channels")
        hold(self.scale.shape == self.bias.shape == x[:1], "scale and bias do not have one entry a channel")
        hold(self.epsilon >= 0, "epsilon is negative", "Use a positive epsilon")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        return torch.group_norm(inputs[0], self.groups, arrays["scale"], arrays["bias"], self.epsilon)

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return statistics_rule(self.scale, self.epsilon)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call, repeated=(1, 2), groups="num_groups")


@onnx_operator(inputs=3, epsilon="float")
@dataclass(frozen=True, eq=False)
class InstanceNormalization(GroupNormalization):
    """Every channel is a group."""

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, scale, bias = call.activation(), call.weight(1), call.weight(2)
        return cls(scale, bias, x.shape[0], read_epsilon(call))

    def check(self, *inputs: Shape) -> None:
        super().check(*inputs)
        hold(self.groups == inputs[0][0], "every channel must be a group")

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return by_channel(call, repeated=(1, 2))


@onnx_operator(inputs=2, axis="int", epsilon="float", stash_type="int")
@dataclass(frozen=True, eq=False)
class RMSNormalization(Operator):
    """``scale x / sqrt(mean(x^2) + epsilon)`` over the axes from ``axis`` of one sample on."""

    behaviour = "max |gamma|/sqrt(epsilon): sound, and vacuous in practice"
    scale: np.ndarray  # of the normalised axes' shape
    axis: int
    epsilon: float

    @classmethod
    def read(cls, call: Call) -> Operator:
        x, scale = call.activation(), call.weight(1)
        axis = sample_axis(call.get("axis", -1), x.rank)
        inner = x.shape[axis:]
        return cls(np.broadcast_to(scale, inner).copy(), axis, read_epsilon(call))

    def check(self, *inputs: Shape) -> None:
        check_statistics(inputs[0], self.axis, self.scale, self.epsilon)

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        squares = x.square().mean(dim=tuple(range(self.axis + 1, x.ndim)), keepdim=True)
        return x * torch.rsqrt(squares + self.epsilon) * arrays["scale"]

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        return statistics_rule(self.scale, self.epsilon)

    @classmethod
    def viewed(cls, call: Call) -> View | None:
        return axis_shifted(call, -1)


STEEPEST_POWER = 1024  # a power multiplies the rounding errors of its base


@onnx_operator(alpha="float", beta="float", bias="float", size="int")
@dataclass(frozen=True, eq=False)
class LRN(Operator):
    """``x / s^beta``, s = bias + alpha/size times the sum of the squares of the ``size`` channels around."""

    behaviour = "bias^-beta (1 + (size - 1) (beta/(beta + 1))^(beta + 1)); beta above 1024: smoothing only"
    alpha: float
    beta: float
    bias: float
    size: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        alpha, beta, bias = call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
        return cls(alpha, beta, bias, call.get("size", 0))

    def check(self, *inputs: Shape) -> None:
        odd = 1 <= self.size < 2**20 and self.size % 2 == 1
        hold(
            odd and len(inputs[0]) >= 2, "its size must be odd, on an input with channels and pixels", "Use an odd size"
        )
        hold(
            self.alpha >= 0 and self.beta >= 0 and self.bias > 0,
            "alpha and beta must not be negative, and bias must be positive",
            "Train again with those",
        )

    def scratch(self, *inputs: Shape) -> int:
        (x,) = inputs
        return (x[0] + self.size) * prod(x[1:])

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        squares = x.square().flatten(2).transpose(1, 2)
        half = self.size // 2
        padded = torch.nn.functional.pad(squares, (half, half))
        means = torch.nn.functional.avg_pool1d(padded, self.size, stride=1)  # the padding counts
        return x * (self.bias + self.alpha * means.transpose(1, 2).reshape(x.shape)) ** -self.beta

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def lipschitz(self, *inputs: Shape) -> Rule:
        # With q = alpha/size, d y_i/d x_j = s^-beta [i = j] - 2 q beta x_i x_j s^(-beta-1) for j in the window of i.
        # q (x_i^2 + x_j^2) <= s - bias. So with u = 1 - bias/s, the diagonal is bias^-beta (1-u)^beta times something
        # from 1 - 2 beta u to 1: at most bias^-beta, since (2 beta u - 1) (1-u)^beta <= 2 exp(-3/2) at its peak,
        # u = 3/(2 beta + 2). Off it stands at most beta u (1-u)^beta bias^-beta, whose peak is at u = 1/(beta + 1).
        # Rows and columns have size - 1 of those.
        if self.beta > STEEPEST_POWER:
            return Unbounded(f"its beta is more than {STEEPEST_POWER}", "Use smoothing")
        off = (self.beta / (self.beta + 1)) ** (self.beta + 1)
        try:
            steepest = self.bias**-self.beta * (1 + (self.size - 1) * off)
        except OverflowError:
            steepest = math.inf
        return slope(up(steepest * (1 + 2.0**-45)))  # two powers
