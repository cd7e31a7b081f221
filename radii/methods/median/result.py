"""Bounds on a smoothed regressor's medians: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Sampled


class MedianResult(Sampled):
    """What `median` says of an input: bounds by output."""

    kind: Literal["median"] = Field(default="median", description="Of the method.")
    prediction: None = Field(description="A regressor has no classes: null.")
    radius: float | None = Field(description="The one that was asked about. null where abstained.")
    abstained: bool = Field(description="No output is bounded on both sides.")
    counts: list[int] | None = Field(default=None, description="Samples that were finite, and others.")
    median: list[float | None] | None = Field(
        default=None, description="Of the samples, by output. An estimate, not a bound. null: not known."
    )
    lower: list[float | None] | None = Field(
        default=None, description="g is at least this within the radius. null: no bound."
    )
    upper: list[float | None] | None = Field(default=None, description="g is at most this.")
