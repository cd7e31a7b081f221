"""Rounding to integers: constant between its jumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from radii.graph.operator import Shape
from radii.graph.ops.activation import Univariate
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule, Unbounded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rounding(Univariate):
    behaviour = "unbounded: smoothing only"

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("rounding jumps", "Use smoothing, or remove the rounding")


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Floor(Rounding):
    def function(self, x: Tensor) -> Tensor:
        return torch.floor(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Ceil(Rounding):
    def function(self, x: Tensor) -> Tensor:
        return torch.ceil(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Round(Rounding):
    """Halves go to the even neighbour."""

    def function(self, x: Tensor) -> Tensor:
        return torch.round(x)
