"""Radii by a Lipschitz bound: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Certified


class LipschitzResult(Certified):
    """What `lipschitz` says of an input."""

    kind: Literal["lipschitz"] = Field(default="lipschitz", description="Of the method.")
    runner_up: int | None = Field(default=None, description="The class that limits the radius.")
    margin: float | None = Field(default=None, description="Largest logit less the runner-up's.")
    lipschitz: float | None = Field(default=None, description="Constant (l2) of that difference.")
