"""Radii by a Lipschitz bound: the method."""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from radii.bounds import DEFAULT_BUDGET, BoundName
from radii.methods.common import CrossCheck
from radii.methods.lipschitz.report import Report
from radii.methods.lipschitz.result import LipschitzResult
from radii.methods.method import Method
from radii.methods.result import Result
from radii.norms import Norm


class Lipschitz(Method):
    """Deterministic radii of the network f itself: margin over a proved l2 Lipschitz bound (Gram iteration)."""

    applies_as: ClassVar[str] = "lipschitz"
    denoised: ClassVar[bool] = False
    result: ClassVar[type[Result]] = LipschitzResult
    report: ClassVar[type[BaseModel] | None] = Report
    figures: ClassVar[dict[str, tuple[str, ...]]] = {"bound": ("upper", "norm", "rule", "vacuous")}

    kind: Literal["lipschitz"] = "lipschitz"
    bound: BoundName = Field(
        default="auto", description="Rule that composes the layers; auto: the smallest bound of all."
    )
    rtol: float = Field(default=1e-6, ge=1e-9, le=0.1, description="Relative slack that a layer's norm bound may have.")
    budget: int = Field(
        default=DEFAULT_BUDGET,
        ge=1,
        le=2**20,
        description="What norms of layers, and rules on several layers, may take in units of 2^30 multiply-adds (some "
        "hundredths of a second each); where it is met, a note of the report says which budget allows more.",
    )
    norm: Norm = Field(default="l2", description="Norm of the radii; linf: r / sqrt(d) for an l2 radius r, l1: r.")
    cross_check: CrossCheck = None

    def cost(self, span: float | None = None) -> int:
        return 1

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return 100_000  # many: the bound is the work, and an input's margin costs next to nothing
