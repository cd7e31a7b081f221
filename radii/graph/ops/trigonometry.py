"""Trigonometric and hyperbolic functions and their inverses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from radii.graph.operator import Shape
from radii.graph.ops.activation import Univariate
from radii.graph.ops.registry import onnx_operator
from radii.graph.order import EVERYTHING, Range
from radii.graph.rules import Rule, Unbounded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Steep(Univariate):
    """Somewhere as steep as one likes."""

    behaviour = "unbounded: smoothing only"

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Unbounded("its slope has no bound", "Use smoothing")


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Sin(Univariate):
    behaviour = "1"

    def function(self, x: Tensor) -> Tensor:
        return torch.sin(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Cos(Univariate):
    behaviour = "1"

    def function(self, x: Tensor) -> Tensor:
        return torch.cos(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Tan(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.tan(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Asin(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.asin(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Acos(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.acos(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Atan(Univariate):
    behaviour = "1"
    increasing = Range(-2.0, 2.0)

    def function(self, x: Tensor) -> Tensor:
        return torch.atan(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Sinh(Steep):
    increasing = EVERYTHING

    def function(self, x: Tensor) -> Tensor:
        return torch.sinh(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Cosh(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.cosh(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Asinh(Univariate):
    behaviour = "1"
    increasing = EVERYTHING

    def function(self, x: Tensor) -> Tensor:
        return torch.asinh(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Acosh(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.acosh(x)


@onnx_operator()
@dataclass(frozen=True, eq=False)
class Atanh(Steep):
    def function(self, x: Tensor) -> Tensor:
        return torch.atanh(x)
