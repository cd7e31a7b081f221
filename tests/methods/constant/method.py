"""The radius 0, of everything: the method."""

from typing import ClassVar, Literal

from pydantic import Field

from radii.methods.constant.result import ConstantResult
from radii.methods.method import Method
from radii.methods.result import Result


class Constant(Method):
    """Certifies of every input that the network answers there as it does."""

    result: ClassVar[type[Result]] = ConstantResult
    no_curve: ClassVar[str | None] = "certifies the radius 0 everywhere, so it has no curve"

    kind: Literal["constant"] = "constant"
    times: int = Field(default=3, ge=1, le=100, description="How often the network is asked.")

    def cost(self, span: float | None = None) -> int:
        return self.times

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return 4
