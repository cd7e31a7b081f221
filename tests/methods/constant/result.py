"""The radius 0, of everything: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Result


class ConstantResult(Result):
    """What `constant` says of an input."""

    kind: Literal["constant"] = Field(default="constant", description="Of the method.")
    version: Literal[1, 2] = Field(  # type: ignore[assignment]  # of the base class there is one version
        default=2, description="Of this kind's results: 2 as they are described here."
    )
    asked: int = Field(description="How often the network was asked.")
