"""Bounds on a smoothed regressor's medians: the method."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from radii.methods.lines import Line, above, below
from radii.methods.median.result import MedianResult
from radii.methods.method import About, Json, Stage, Unfit
from radii.methods.result import Result
from radii.methods.smoothed import Smoothed
from radii.norms import Norm

MOST_VALUES = 2**26  # of an input, in memory at once: 256 MiB in float32
MOST_MEDIAN_SAMPLES = 1_000_000
BOUNDS = ("median", "lower", "upper", "noise", "executor", "batch_size")
"""What the ledger keeps of a result: the outputs that its bounds are among are too many."""
MOST_BOUNDED = 100  # inputs of a shard: what the ledger knows of them is in memory at once


class Median(Smoothed):
    """Median smoothing (Chiang et al. 2020): of a regressor's outputs, bounds on their medians under the noise that
    hold at every point within an l2 radius."""

    task: ClassVar[Literal["classifier", "regressor"]] = "regressor"
    applies_as: ClassVar[str] = "median"
    result: ClassVar[type[Result]] = MedianResult
    doing: ClassVar[str | None] = "bounding medians"
    no_curve: ClassVar[str | None] = "bounds medians within one radius, so it has no curve; its results have the bounds"
    headings: ClassVar[tuple[str, ...]] = ("index", "output", "median", "at least", "at most")

    kind: Literal["median"] = "median"
    noise: Literal["gaussian"] = "gaussian"
    radius: float = Field(ge=0, le=1e9, description="The l2 radius within which the bounds hold, in input units.")
    n: int = Field(
        default=10_000,
        ge=1,
        le=MOST_MEDIAN_SAMPLES,
        description="Samples: the bounds are two of an output's n sorted values.",
    )

    def _hopeless(self, alpha: float) -> str | None:
        # The smallest of n outputs is a bound at all where (1 - p)^n <= alpha/2; p and the tail are rounded as there.
        p = 0.5 * math.erfc(self.radius / self.sigma / math.sqrt(2) * (1 + 1e-9)) * (1 - 1e-9)
        least = math.inf if p < 1e-300 else math.ceil((math.log(2) - math.log(alpha) + 1e-9) / -math.log1p(-p))
        if self.n >= least:
            return None
        remedy = f"Use n >= {least}, a" if least <= MOST_MEDIAN_SAMPLES else "Use a"
        return (
            f"n = {self.n} can bound no median within {self.radius:g} at sigma = {self.sigma:g} and alpha = {alpha:g} "
            f"(of one output): it may lie beyond all n values. {remedy} smaller radius, a larger sigma or alpha."
        )

    def too_large(self, outputs: int) -> str | None:
        """Why the values of a network of so many outputs are too many to sort; None if they are not."""
        if self.n * outputs <= MOST_VALUES:
            return None
        return (
            f"n = {self.n} samples of {outputs} outputs are {self.n * outputs} values, of {MOST_VALUES} held: "
            f"use n <= {MOST_VALUES // outputs}"
        )

    def unfit(self, about: About) -> Unfit | None:
        if reason := self.too_large(about.outputs):
            return Unfit(reason, "n")
        return super().unfit(about)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("median", "counts", self.n, BOUNDS),)

    @property
    def certifies_in(self) -> Norm | None:
        return "l2"

    @property
    def exactly(self) -> dict[str, Json]:
        return {"median": {"n": self.n, "radius": self.radius}}

    @classmethod
    def lines(cls, row: Json) -> list[Line]:
        found = []
        for output, (median, lower, upper) in enumerate(zip(row["median"], row["lower"], row["upper"], strict=True)):
            ends = ("-" if lower is None else below(lower), "-" if upper is None else above(upper))
            cells = (str(row["index"]), str(output), "-" if median is None else f"{median:.7g}", *ends)
            found.append(Line(cells, None not in (lower, upper)))
        return found

    def cost(self, span: float | None = None) -> int:
        return self.n

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return min(MOST_BOUNDED, super().shard_inputs(span))
