"""The class of a smoothed classifier: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Sampled


class PredictionResult(Sampled):
    """What `prediction` says of an input: the class of g, and no radius."""

    kind: Literal["prediction"] = Field(default="prediction", description="Of the method.")
    prediction: int | None = Field(description="The class of g. null where abstained.")
    radius: None = Field(description="None is certified: null.")
    norm: None = Field(description="null.")
    p_value: float | None = Field(
        default=None, description="Of the test that the first class does not lead; it answers up to alpha."
    )
