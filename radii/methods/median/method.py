"""Bounds on a smoothed regressor's medians: the parameters."""

import math
from typing import Literal

from pydantic import Field

from radii.methods.smoothed import Smoothed

MOST_VALUES = 2**26  # of an input, in memory at once: 256 MiB in float32
MOST_MEDIAN_SAMPLES = 1_000_000
MOST_BOUNDED = 100  # inputs of a shard: what the ledger knows of them is in memory at once


class Median(Smoothed):
    """Median smoothing (Chiang et al. 2020): of a regressor's outputs, bounds on their medians under the noise that
    hold at every point within an l2 radius."""

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

    def cost(self, span: float | None = None) -> int:
        return self.n

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return min(MOST_BOUNDED, super().shard_inputs(span))
