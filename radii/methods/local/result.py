"""Radii by bounds near each input: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Certified


class LocalResult(Certified):
    """What `local` says of an input. Its radius is the best of `local_radius` and `lipschitz_radius`."""

    kind: Literal["local"] = Field(default="local", description="Of the method.")
    radius: float | None = Field(
        description="Certified radius, rounded toward zero; with target_radius: that one. null where abstained, which "
        "is never written as 0."
    )
    abstained: bool = Field(description="Nothing is said. With target_radius: it is not certified at that.")
    rule: Literal["local", "lipschitz"] | None = Field(
        default=None, description="Which radius it is. null where abstained."
    )
    local_radius: float | None = Field(
        default=None, description="The largest radius proved near the input. null: none above `lipschitz_radius`."
    )
    lipschitz_radius: float | None = Field(
        default=None, description="Margin over the Lipschitz bound, in `norm`. null: none, or the network has no bound."
    )
    not_proved: float | None = Field(
        default=None, description="The smallest radius that was tried in vain: no bound on anything. null: none was."
    )
    nearest_attack: float | None = Field(
        default=None, description="Distance of the nearest input of another class that was found. null: none was."
    )
    tried: int | None = Field(default=None, description="Radii that were tried.")
    unstable: int | None = Field(
        default=None, description="Units of piecewise linear activations that may bend within the radius proved."
    )
    parts: int | None = Field(default=None, description="effort high: parts that balls were cut into, over all tries.")
    notes: list[str] | None = Field(
        default=None, description="What was left out, or given up: that the budget of parts was spent, say."
    )
    decision: str | None = Field(
        default=None, description="With target_radius: certified, or not certified, which says nothing against it."
    )
    valid_range: list[float] | None = Field(
        default=None, description="box: the range that inputs stay in. The radius claims nothing of others."
    )
