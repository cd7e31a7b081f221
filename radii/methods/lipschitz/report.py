"""The bound that radii rest on, layer by layer."""

from typing import Literal

from pydantic import BaseModel, Field


class Layer(BaseModel):
    """What one node contributes. `shape` is its weight's; `padding` and `torus` are a convolution's."""

    index: int = Field(description="Position in the file; -1: the normalisation of the input.")
    operator: str
    label: str = Field(description="The node's name in the file.")
    rule: str
    shape: list[int] | None
    padding: list[list[int]] | None
    torus: list[int] | None = Field(description="Pixels per axis of the circular operator that was bounded instead.")
    method: str = Field(description="What proved the upper bound.")
    iterations: int
    upper: float
    lower: float = Field(description="Proved from below, by a witness; 0: nothing is known.")
    slack: float = Field(description="Relative part of `upper` that is there for rounding.")
    share: float | None = Field(description="log(upper) / log(bound of the network).")
    seconds: float


class LeftOut(BaseModel):
    """A node that stands behind the logits."""

    index: int = Field(description="Position in the file.")
    operator: str
    label: str = Field(description="The node's name in the file.")


class Pairwise(BaseModel):
    """The range of the Lipschitz constants of differences of two logits."""

    min: float
    max: float


class Report(BaseModel):
    """A proved Lipschitz constant of the network's logits, and what it is made of."""

    certification_id: str
    model_id: str
    upper: float
    norm: Literal["l2"] = Field(description="Of `upper`, on both sides; radii in other norms are converted.")
    rule: str = Field(description="How the layers became one bound.")
    vacuous: bool = Field(description="Too large to certify anything useful: use smoothing.")
    notes: list[str] = Field(default=[], description="Why sharper rules could not treat a part of the network.")
    left_out: list[LeftOut] = Field(
        default=[],
        description="The end of the network that keeps the order of the classes (a softmax, say); `upper` is of the "
        "logits before it.",
    )
    pairwise: Pairwise | None
    layers: list[Layer]
    seconds: float
