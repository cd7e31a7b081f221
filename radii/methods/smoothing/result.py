"""Radii of a smoothed classifier: what is said of an input."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from radii.methods.result import Certified, Sampled


class Scores(BaseModel):
    """Soft scores: g answers the class of the largest mean score."""

    model_config = ConfigDict(extra="allow")

    map: str = Field(description="From logits to scores: hardmax, softmax or sparsemax. Whoever serves g needs it.")
    factor: float = Field(description="What the logits are multiplied by before. Needed as well.")
    mean: list[float] = Field(description="Mean score by class; the last: non-finite logits.")
    variance: list[float] = Field(description="Of the scores, by class.")
    squares: list[float] = Field(description="Sums of squared differences from the mean.")
    precision: str = Field(description="What the network ran in.")
    lipschitz: float | None = Field(description="Of the scores, where it enlarged the radius.")
    why_not: str | None = Field(description="Why it did not, elsewhere.")


class SmoothingResult(Sampled, Certified):
    """What `smoothing` says of an input, in either mode."""

    kind: Literal["smoothing"] = Field(default="smoothing", description="Of the method.")
    radius: float | None = Field(
        description="Certified radius, rounded toward zero; mode decide: target_radius. null where abstained, which is "
        "never written as 0."
    )
    abstained: bool = Field(description="Nothing is said. mode decide: it is not certified at target_radius.")
    pilot_class: int | None = Field(
        default=None,
        description="The class that the pilot chose, certified or not; no answer where abstained. null: non-finite "
        "logits.",
    )
    pilot_counts: list[int] | None = Field(default=None, description="Votes of the pilot.")
    decision: str | None = Field(default=None, description="mode decide: certified, not certified, or undecided.")
    unspent: int | None = Field(default=None, description="mode decide: samples that were not needed.")
    p_lower: float | None = Field(
        default=None,
        description="Lower bound of the class's probability (soft scores: mean score), which the radius is made of.",
    )
    p_upper: float | None = Field(
        default=None, description="Upper bound of every other class's. null: 1 - p_lower, or none was needed."
    )
    sides: str | None = Field(
        default=None, description="Whether the radius is of p_lower alone, or of both. The pilot chose."
    )
    plain_radius: float | None = Field(
        default=None, description="Soft scores: the radius without a Lipschitz constant, never larger."
    )
    scores: Scores | None = Field(default=None, description="Soft scores: what they are.")
