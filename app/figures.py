"""Every figure of summary, curve and results, defined: the one place, of which docs/figures.md is made.

Field by field: what is not of a method is null, or left out of a result.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.curve import READING
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
    """A certification in a few figures, once it has ended. g is the smoothed classifier; of lipschitz, which smooths
    nothing, read: the network."""

    model_config = ALLOW

    inputs: int = Field(description="Inputs with a result; the other figures are of these.")
    inputs_asked: int | None = Field(default=None, description="Inputs that the certification is about.")
    complete: bool | None = Field(
        default=None,
        description="Every input has its result, and they stand: the state is succeeded. Of a certification that "
        "failed accuracy, at_target, median_radius and decisions are null.",
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
        description="Median of the radii of all inputs, answered rightly or not; an abstained one counts as 0."
    )
    decisions: dict[str, int] | None = Field(
        default=None,
        description="mode decide: how many inputs are `certified` at target_radius, `not certified` and `undecided`.",
    )
    bound: Bound | None = None
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
    inputs: int = Field(description="Inputs with a result; the shares are of these.")
    inputs_asked: int = Field(description="Inputs that the certification is about.")
    complete: bool = Field(
        description="Every input has its result: the state is succeeded. Else the curve is of those done so far, and "
        "says nothing of the others."
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


class Scores(BaseModel):
    """Soft scores: g answers the class of the largest mean score."""

    model_config = ALLOW

    map: str = Field(description="From logits to scores: hardmax, softmax or sparsemax. Whoever serves g needs it.")
    factor: float = Field(description="What the logits are multiplied by before. Needed as well.")
    mean: list[float] = Field(description="Mean score by class; the last: non-finite logits.")
    variance: list[float] = Field(description="Of the scores, by class.")
    squares: list[float] = Field(description="Sums of squared differences from the mean.")
    precision: str = Field(description="What the network ran in.")
    lipschitz: float | None = Field(description="Of the scores, where it enlarged the radius.")
    why_not: str | None = Field(description="Why it did not, elsewhere.")


class ResultItem(BaseModel):
    """What is said of one input. What does not belong to the method is left out."""

    model_config = ALLOW

    index: int = Field(description="In the data set.")
    label: int | None = Field(description="Of the data set; null: it has none.")
    prediction: int | None = Field(
        description="The class that is certified within `radius`; of prediction, g's. null where abstained, and of "
        "median."
    )
    radius: float | None = Field(
        description="Certified radius, rounded toward zero. null where abstained, which is never written as 0, and of "
        "prediction. mode decide: target_radius. median: the one that was asked about."
    )
    abstained: bool = Field(description="Nothing is said. mode decide: it is not certified at target_radius.")
    norm: Norm | None = Field(description="Norm of the radius.")
    pilot_class: int | None = Field(
        default=None,
        description="smoothing: the class that the pilot chose, certified or not; no answer where abstained. null: "
        "non-finite logits.",
    )
    clean_prediction: int | None = Field(
        default=None, description="The network's own class, without noise. null: non-finite logits."
    )
    decision: str | None = Field(default=None, description="mode decide: certified, not certified, or undecided.")
    n: int | None = Field(default=None, description="Samples taken, or offsets evaluated.")
    counts: list[int] | None = Field(
        default=None,
        description="Their votes by class; the last: non-finite logits. median: samples that were finite, and others.",
    )
    pilot_counts: list[int] | None = Field(default=None, description="Votes of the pilot.")
    unspent: int | None = Field(default=None, description="mode decide: samples that were not needed.")
    reused: int | None = Field(default=None, description="Samples that were counted before, and not drawn again.")
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
    p_value: float | None = Field(
        default=None, description="prediction: of the test that the first class does not lead; it answers up to alpha."
    )
    median: list[float | None] | None = Field(
        default=None, description="median: of the samples, by output. An estimate, not a bound. null: not known."
    )
    lower: list[float | None] | None = Field(
        default=None, description="median: g is at least this within the radius. null: no bound."
    )
    upper: list[float | None] | None = Field(default=None, description="median: g is at most this.")
    steps: int | None = Field(default=None, description="splitting: the radius in 255ths of the range, exact.")
    runner_up: int | None = Field(default=None, description="lipschitz: the class that limits the radius.")
    margin: float | None = Field(default=None, description="lipschitz: largest logit less the runner-up's.")
    lipschitz: float | None = Field(default=None, description="lipschitz: constant (l2) of that difference.")
    noise: str | None = Field(default=None, description="Law and generator of the noise.")
    rounded_to: list[float] | None = Field(
        default=None, description="The range to whose 255ths noisy copies were rounded: part of g."
    )
    other_noises: list[dict[str, Any]] | None = Field(
        default=None, description="Other noises that this model and input were asked about before."
    )
    executor: str | None = Field(default=None, description="What ran the samples that were drawn.")
    batch_size: int | None = Field(default=None, description="Samples that it took at once.")
    device: str | None = Field(default=None, description="The kind of device that it ran on.")
    seconds: float | None = Field(default=None, description="Of a worker's time.")
    attack: Attack | None = Field(
        default=None, description="Of an input that was drawn for the cross-check, or is known to contradict."
    )
    answered_by: str | None = Field(
        default=None,
        description="Where the very same question was asked before: the certification that came to this answer.",
    )


class ResultPage(BaseModel):
    """Results in the order of the data set."""

    norm: Norm | None = Field(description="Norm of the radii; null where the method certifies none.")
    units: Units = Field(description="Units of the radii.")
    items: list[ResultItem] = Field(description="One an input.")
    next_cursor: str | None = Field(description="Of the next page; null: this is the last.")
