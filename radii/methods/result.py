"""What the results of all methods have in common, and those of several.

Every field is defined here and in the rooms, and nowhere else: the API's documents and docs/figures.md are made of it.
A result of a former version has its number; where there is none it is 1.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from radii.norms import Norm


class Adversarial(BaseModel):
    """An array in base64, in C order."""

    dtype: str = Field(description="As numpy writes it.", examples=["<f4"])
    shape: list[int] = Field(description="Of the array.")
    base64: str = Field(description="Its bytes.")


class Attack(BaseModel):
    """What an attack on a certified input found; or `not_checked` alone, the reason."""

    distance: float | None = Field(
        default=None, description="The nearest at which another class was found. smoothing: an estimate from votes."
    )
    prediction: int | None = Field(default=None, description="The class there.")
    contradicted: bool = Field(default=False, description="Another class was found inside the radius.")
    input: str | None = Field(default=None, description="Digest of the input that was attacked.")
    adversarial: Adversarial | None = Field(default=None, description="The input that contradicts the certificate.")
    not_checked: str | None = Field(default=None, description="Why nothing is known.")


class Result(BaseModel):
    """What is said of one input by a method of any kind; each adds fields of its own. What is not known is left out."""

    model_config = ConfigDict(extra="allow")  # what an earlier version wrote is shown as it is

    kind: str = Field(description="Of the method.")
    version: Literal[1] = Field(default=1, description="Of this kind's results: 1 as they are described here.")
    index: int = Field(description="In the data set.")
    label: int | None = Field(description="Of the data set; null: it has none.")
    prediction: int | None = Field(description="The class that is certified within `radius`. null where abstained.")
    radius: float | None = Field(
        description="Certified radius, rounded toward zero. null where abstained, which is never written as 0."
    )
    abstained: bool = Field(description="Nothing is said.")
    norm: Norm | None = Field(description="Norm of the radius.")
    seconds: float | None = Field(default=None, description="Of a worker's time.")
    failed: bool = Field(
        default=False,
        description="Its samples end or hang the process that computes them, time and again. Nothing is said of it, "
        "nor what any other field of a result would be; it counts as not certified.",
    )
    problem: dict[str, Any] | None = Field(default=None, description="How it failed the last time.")
    answered_by: str | None = Field(
        default=None,
        description="Where the very same question was asked before: the certification that came to this answer.",
    )


class Certified(Result):
    """A class and its radius, which may be attacked."""

    clean_prediction: int | None = Field(
        default=None, description="The network's own class, without noise. null: non-finite logits."
    )
    attack: Attack | None = Field(
        default=None, description="Of an input that was drawn for the cross-check, or is known to contradict."
    )


class Counted(Result):
    """What samples say."""

    n: int | None = Field(default=None, description="Samples taken, or offsets evaluated.")
    counts: list[int] | None = Field(default=None, description="Their votes by class; the last: non-finite logits.")
    noise: str | None = Field(default=None, description="Law and generator of the noise.")
    executor: str | None = Field(default=None, description="What ran the samples that were drawn.")
    batch_size: int | None = Field(default=None, description="Samples that it took at once.")


class Sampled(Counted):
    """What samples of a noise say that is drawn."""

    reused: int | None = Field(default=None, description="Samples that were counted before, and not drawn again.")
    rounded_to: list[float] | None = Field(
        default=None, description="The range to whose 255ths noisy copies were rounded: part of g."
    )
    other_noises: list[dict[str, Any]] | None = Field(
        default=None, description="Other noises that this model and input were asked about before."
    )
    device: str | None = Field(default=None, description="The kind of device that it ran on.")
