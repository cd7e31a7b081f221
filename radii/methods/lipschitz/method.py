"""Radii by a Lipschitz bound: the parameters."""

from typing import Literal

from pydantic import BaseModel, Field

from radii.bounds import BoundName
from radii.methods.common import STRICT, CrossCheck
from radii.norms import Norm


class Lipschitz(BaseModel):
    """Deterministic radii of the network f itself: margin over a proved l2 Lipschitz bound (Gram iteration)."""

    model_config = STRICT

    kind: Literal["lipschitz"] = "lipschitz"
    bound: BoundName = Field(
        default="auto", description="Rule that composes the layers; auto: the smallest bound of all."
    )
    rtol: float = Field(default=1e-6, ge=1e-9, le=0.1, description="Relative slack that a layer's norm bound may have.")
    norm: Norm = Field(default="l2", description="Norm of the radii; linf: r / sqrt(d) for an l2 radius r, l1: r.")
    cross_check: CrossCheck = None

    def cost(self, span: float | None = None) -> int:
        """Units of progress an input is: the input."""
        return 1

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        """Inputs a shard holds: many, because the bound is the work and an input's margin costs next to nothing."""
        return 100_000
