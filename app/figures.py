"""Every figure of summary and curve, defined; those of results are where their methods are. docs/figures.md is made of
both. What is not of a method is null.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.curve import READING
from radii.methods import AnyResult
from radii.norms import Norm

Units = Literal["input values, before (x - mean) / std"]

ALLOW = ConfigDict(extra="allow")  # what an earlier version wrote is shown as it is


class CurvePoint(BaseModel):
    """A certified accuracy and its radius. One does not stand without the other."""

    radius: float = Field(description="In the norm and the units of the certification.")
    certified_accuracy: float | None = Field(
        description="Share of the inputs with a result whose prediction is the label and whose radius is at least "
        "`radius`; without labels, whatever the prediction. null: not known."
    )


class Bound(BaseModel):
    """lipschitz: the bound that the radii rest on; `GET .../report` has it layer by layer."""

    model_config = ALLOW

    upper: float = Field(description="Lipschitz constant of the logits, proved from above.")
    norm: str = Field(description="Norm of both sides.")
    rule: str = Field(description="How the layers became one bound.")
    vacuous: bool = Field(description="Too large to certify anything useful.")


class Local(BaseModel):
    """local: what its radii are about, and the bound beside them."""

    model_config = ALLOW

    lipschitz: float | None = Field(
        description="Lipschitz constant (l2) of the logits, proved from above. null: the network has none."
    )
    valid_range: list[float] | None = Field(
        description="box: radii claim nothing of inputs outside of it. null: they claim it of all inputs."
    )


class CrossCheck(BaseModel):
    """How the attacks on certified inputs, inside their radius, went."""

    model_config = ALLOW

    drawn: int = Field(description="Inputs drawn, before anything was known of them.")
    attacked: int = Field(description="Those of them that were certified, and attacked.")
    contradicted: int = Field(description="Those of them where another class was found inside the radius.")
    contradicted_inputs: list[int] = Field(description="Their indices.")
    probability: float = Field(
        description="Of so many contradictions or more among `drawn`, if every certificate is false with its alpha, "
        "at most. Below 1e-6 the certification fails."
    )
    not_checked: list[str] = Field(description="Why attacks said nothing, where they did not.")


class OtherNoises(BaseModel):
    """What the same model and inputs were asked about before. The best of k answers has an alpha of k times as much."""

    model_config = ALLOW

    inputs: int = Field(description="Inputs that were asked about under another noise before.")
    noises: list[dict[str, Any]] = Field(description="Those noises.")


class Execution(BaseModel):
    """What ran the samples."""

    model_config = ALLOW

    executor: str = Field(description="What ran the network.")
    batch_size: int = Field(description="Noisy samples that it took at once.")


class Summary(BaseModel):
    """A certification in a few figures, once it has ended. g is the smoothed classifier; of lipschitz and local, which
    smooth nothing, read: the network."""

    model_config = ALLOW

    inputs: int = Field(description="Inputs with a result, failed ones among them; the other figures are of these.")
    failed: int = Field(
        default=0, description="Inputs that failed, each for itself: no figure counts them as right or certified."
    )
    failed_indices: list[int] = Field(default=[], description="Those inputs.")
    inputs_asked: int | None = Field(default=None, description="Inputs that the certification is about.")
    complete: bool | None = Field(
        default=None,
        description="Every input has its result, or failed for itself, and they stand: the state is succeeded. Of a "
        "certification that failed accuracy, at_target, median_radius and decisions are null.",
    )
    abstained: int = Field(
        description="Inputs of which nothing is said: neither radius nor prediction. mode decide: those not certified "
        "at target_radius. median: no output is bounded on both sides."
    )
    accuracy: float | None = Field(
        description="Share of labelled inputs whose prediction is the label; abstaining is not right. How far the "
        "inputs may move is not in it. mode decide: a prediction is one that is certified at target_radius."
    )
    clean_accuracy: float | None = Field(
        default=None,
        description="Share of labelled inputs that the network itself, without noise, answers with the label. null "
        "where that is not known of all of them.",
    )
    at_target: CurvePoint | None = Field(
        default=None,
        description="mode decide: the certified accuracy at target_radius. For other methods see "
        "`GET .../curve?radius=`.",
    )
    median_radius: float | None = Field(
        description="Median of the radii of all inputs, answered rightly or not; an abstained or a failed one counts "
        "as 0."
    )
    decisions: dict[str, int] | None = Field(
        default=None,
        description="mode decide: how many inputs are `certified` at target_radius, `not certified` and `undecided`.",
    )
    bound: Bound | None = None
    local: Local | None = None
    cross_check: CrossCheck | None = None
    other_noises: OtherNoises | None = None
    execution: Execution | None = None
    networks: dict[str, str | None] | None = Field(
        default=None, description="With a denoiser: the digest of each of the two networks."
    )


class Band(BaseModel):
    """With probability `level` over test inputs drawn at random, the curve of the whole population lies within
    `half_width` of this one, at all radii at once (Dvoretzky-Kiefer-Wolfowitz)."""

    level: float = Field(description="0.95.")
    half_width: float | None = Field(description="Of the band, in certified accuracy; null without inputs.")


class Curve(BaseModel):
    """Certified accuracy against radius, of the results there are."""

    norm: Norm = Field(description="Norm of the radii.")
    units: Units = Field(description="Units of the radii.")
    inputs: int = Field(description="Inputs with a result, failed ones among them; the shares are of these.")
    failed: int = Field(description="Inputs that failed, each for itself: they are certified at no radius.")
    inputs_asked: int = Field(description="Inputs that the certification is about.")
    complete: bool = Field(
        description="Every input has its result, or failed for itself: the state is succeeded. Else the curve is of "
        "those done so far, and says nothing of the others."
    )
    labelled: bool = Field(
        description="Whether the inputs have labels. Without, certified accuracy is the share certified."
    )
    reading: str = Field(description="How the points are read.", examples=[READING])
    known_up_to: float | None = Field(
        description="mode decide: target_radius. What is certified there is so at smaller radii; beyond it nothing was "
        "asked, which is not 0."
    )
    points: list[CurvePoint] = Field(
        description="Corners of the falling step function, by radius, 1001 at most; read by `reading` never above it."
    )
    at: CurvePoint | None = Field(description="The answer to `radius` in the query, from all results, not from points.")
    band: Band = Field(description="How far the shares of so many inputs may lie from those of all.")


class ResultPage(BaseModel):
    """Results in the order of the data set."""

    norm: Norm | None = Field(description="Norm of the radii; null where the method certifies none.")
    units: Units = Field(description="Units of the radii.")
    items: list[AnyResult] = Field(
        description="One an input, as the kind of its method says. What is not known is left out."
    )
    next_cursor: str | None = Field(description="Of the next page; null: this is the last.")
