"""Blocks of pixels to channels and back (pixel shuffle)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radii.graph.call import Call
from radii.graph.errors import hold
from radii.graph.operator import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule, Slope

if TYPE_CHECKING:
    from torch import Tensor


def _check(block: int, x: Shape) -> None:
    hold(len(x) == 3 and 1 <= block < 2**20, "it needs images of two axes and a positive blocksize")


@onnx_operator(blocksize="int", mode="string")
@dataclass(frozen=True, eq=False)
class DepthToSpace(Operator):
    """Channels to blocks of pixels; the block's axes come first among the channels (DCR), or last (CRD)."""

    behaviour = "1"
    exact = copies = linear = True
    block: int
    mode: str

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("blocksize", 0), call.get("mode", "DCR"))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        _check(self.block, x)
        whole = self.mode in ("DCR", "CRD") and x[0] % self.block**2 == 0
        hold(whole, "its mode is unknown, or the channels do not make blocks")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        b, (n, c, h, w) = self.block, x.shape
        if self.mode == "DCR":
            y = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            y = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
        return y.reshape(n, c // b**2, h * b, w * b)

    def shape(self, *inputs: Shape) -> Shape:
        ((c, h, w),) = inputs
        return (c // self.block**2, h * self.block, w * self.block)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)


@onnx_operator(blocksize="int")
@dataclass(frozen=True, eq=False)
class SpaceToDepth(Operator):
    """Blocks of pixels to channels."""

    behaviour = "1"
    exact = copies = linear = True
    block: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        call.activation()
        return cls(call.get("blocksize", 0))

    def check(self, *inputs: Shape) -> None:
        (x,) = inputs
        _check(self.block, x)
        whole = all(size % self.block == 0 for size in x[1:])
        hold(whole, "the image is not made of whole blocks", "Use an input of another size")

    def run(self, inputs: Sequence[Tensor], arrays: Mapping[str, Tensor]) -> Tensor:
        (x,) = inputs
        b, (n, c, h, w) = self.block, x.shape
        y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * b**2, h // b, w // b)

    def shape(self, *inputs: Shape) -> Shape:
        ((c, h, w),) = inputs
        return (c * self.block**2, h // self.block, w // self.block)

    def lipschitz(self, *inputs: Shape) -> Rule:
        return Slope(1.0)
