"""Radii by splitting noise: what is said of an input."""

from typing import Literal

from pydantic import Field

from radii.methods.result import Certified, Counted


class SplittingResult(Counted, Certified):
    """What `splitting` says of an input."""

    kind: Literal["splitting"] = Field(default="splitting", description="Of the method.")
    steps: int | None = Field(default=None, description="The radius in 255ths of the range, exact.")
