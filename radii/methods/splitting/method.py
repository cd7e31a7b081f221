"""Radii by splitting noise, every offset evaluated: the method."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from radii.methods.common import SHARD_SAMPLES, CrossCheck
from radii.methods.method import About, Method, Stage, Unfit
from radii.methods.result import Result
from radii.methods.splitting.result import SplittingResult

MOST_OFFSETS = 2**20


class Splitting(Method):
    """Deterministic l1 radii of 8-bit inputs: splitting noise with every offset evaluated (Levine & Feizi 2021)."""

    unit: ClassVar[Literal["samples", "inputs"]] = "samples"
    result: ClassVar[type[Result]] = SplittingResult
    answers_for: ClassVar[str] = "the smoothed classifier"

    kind: Literal["splitting"] = "splitting"
    sigma: float = Field(
        gt=0,
        le=1e3,
        description="Standard deviation of a cut, in input units: an input takes 2 sqrt(3) sigma 255 / span "
        "evaluations (span: of the range), and no radius exceeds sqrt(3) sigma.",
    )
    norm: Literal["l1"] = Field(default="l1", description="Norm of the radii.")
    cross_check: CrossCheck = None

    def unfit(self, about: About) -> Unfit | None:
        span = about.span
        if span is None:
            return Unfit(
                "splitting noise takes 8-bit inputs, and these are not whole 255ths of 0 to 1, nor whole numbers from "
                "0 to 255: round them, or certify by smoothing",
                "kind",
            )
        length = self._length(span)
        if 1.5 <= length <= MOST_OFFSETS:
            return None
        one = self.sigma / length
        return Unfit(
            f"splitting takes 2 to {MOST_OFFSETS} offsets, not {length:.6g}: choose a sigma between {2 * one:.4g} and "
            f"{min(1e3, 0.999 * MOST_OFFSETS * one):.4g}",
            "sigma",
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("split", "counts", apart=True),)

    def cost(self, span: float | None = None) -> int:
        return round(self._length(span or 1.0))

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return max(1, SHARD_SAMPLES // self.cost(span))

    def _length(self, span: float) -> float:
        return 2 * math.sqrt(3) * self.sigma * 255 / span
