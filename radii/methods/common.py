"""What parameters of several methods have in common."""

from typing import Annotated

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
SHARD_SAMPLES = 200_000  # some: workers share a job, and a shard's start is cheap

CrossCheck = Annotated[
    int | None,
    Field(
        ge=0,
        le=1000,
        description="Inputs to draw and, where certified, to attack inside their radius. Unset: one in 50, at most 10.",
    ),
]
