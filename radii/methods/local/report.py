"""What local radii of a network have in common."""

from pydantic import BaseModel, Field


class Unbounded(BaseModel):
    """A node for which the network has no Lipschitz bound."""

    node: int | None = Field(description="Position in the file.")
    operator: str
    reason: str
    remedy: str


class LocalReport(BaseModel):
    """The Lipschitz bound that is used beside local bounds, and what radii are about."""

    certification_id: str
    model_id: str
    lipschitz: float | None = Field(
        description="Lipschitz constant (l2) of the logits, proved from above; `lipschitz` reports it layer by layer. "
        "null: there is none, so that all radii are local."
    )
    rule: str | None = Field(description="How the layers became one bound.")
    unbounded: list[Unbounded] = Field(description="Why there is none.")
    valid_range: list[float] | None = Field(description="box: the range that inputs stay in. null: they may leave it.")
