"""Radii by splitting noise, every offset evaluated: the parameters."""

import math
from typing import Literal

from pydantic import BaseModel, Field

from radii.methods.common import SHARD_SAMPLES, STRICT, CrossCheck

MOST_OFFSETS = 2**20


class Splitting(BaseModel):
    """Deterministic l1 radii of 8-bit inputs: splitting noise with every offset evaluated (Levine & Feizi 2021)."""

    model_config = STRICT

    kind: Literal["splitting"] = "splitting"
    sigma: float = Field(
        gt=0,
        le=1e3,
        description="Standard deviation of a cut, in input units: an input takes 2 sqrt(3) sigma 255 / span "
        "evaluations (span: of the range), and no radius exceeds sqrt(3) sigma.",
    )
    norm: Literal["l1"] = Field(default="l1", description="Norm of the radii.")
    cross_check: CrossCheck = None

    def unfit(self, span: float | None) -> str | None:
        """Why it can't be asked about inputs whose 255 steps have this span (None: no 8-bit inputs); None if it can."""
        if span is None:
            return (
                "splitting noise takes 8-bit inputs, and these are not whole 255ths of 0 to 1, nor whole numbers from "
                "0 to 255: round them, or certify by smoothing"
            )
        length = self._length(span)
        if 1.5 <= length <= MOST_OFFSETS:
            return None
        one = self.sigma / length
        return (
            f"splitting takes 2 to {MOST_OFFSETS} offsets, not {length:.6g}: choose a sigma between {2 * one:.4g} and "
            f"{min(1e3, 0.999 * MOST_OFFSETS * one):.4g}"
        )

    def cost(self, span: float | None = None) -> int:
        """Units of progress an input is: offsets."""
        return round(self._length(span or 1.0))

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        """Inputs a shard holds."""
        return max(1, SHARD_SAMPLES // self.cost(span))

    def _length(self, span: float) -> float:
        return 2 * math.sqrt(3) * self.sigma * 255 / span
