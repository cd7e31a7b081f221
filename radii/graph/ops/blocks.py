"""Blocks of pixels to channels and back (pixel shuffle)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from radii.graph.call import Call
from radii.graph.errors import Refusal
from radii.graph.ir import Operator, Shape
from radii.graph.ops.registry import onnx_operator
from radii.graph.rules import Rule, Slope


def _read(call: Call) -> int:
    x, block = call.activation(), call.get("blocksize", 0)
    if x.rank != 4 or not 1 <= block < 2**20:
        raise Refusal("it needs images of two axes and a positive blocksize", "Export the model again")
    return int(block)


@onnx_operator(blocksize="int", mode="string")
@dataclass(frozen=True, eq=False)
class DepthToSpace(Operator):
    """Channels to blocks of pixels; the block's axes come first among the channels (DCR), or last (CRD)."""

    behaviour = "1"
    block: int
    mode: str

    @classmethod
    def read(cls, call: Call) -> Operator:
        block, mode = _read(call), call.get("mode", "DCR")
        if mode not in ("DCR", "CRD") or call.activation().shape[0] % block**2:
            raise Refusal("mode is unknown, or the channels do not make blocks", "Export the model again")
        return cls(block, mode)

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
    block: int

    @classmethod
    def read(cls, call: Call) -> Operator:
        block = _read(call)
        if any(size % block for size in call.activation().shape[1:]):
            raise Refusal("the image is not made of whole blocks", "Use an input of another size")
        return cls(block)

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
