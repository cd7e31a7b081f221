"""Radii of a smoothed classifier, or whether one radius is reached: the method."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from radii.laws import LAWS
from radii.methods.common import SHARD_SAMPLES, CrossCheck
from radii.methods.method import About, Json, Stage, Unfit
from radii.methods.result import Result
from radii.methods.smoothed import DECISION_TEST, DRAWN, Smoothed
from radii.methods.smoothing.result import SmoothingResult
from radii.norms import Norm

ATTACK_LEVEL = 1e-9  # LEVEL of radii.attacks: what it may be wrong about g's answer; a test holds them together
SAVED_BY_DECIDING = 25  # times fewer samples than n, at least, for most inputs (docs/smoothing.md)
TO_FILL_A_BATCH = 20  # inputs: their looks of 50 samples are one of 1000
WORKERS_SHARE = 32  # shards that a job is cut into before they hold so many inputs
LATE = 0.8  # of alpha, for a decision's last bound: 1 - EARLY of radii.smoothing.sequential; a test holds them together


def _below(value: float) -> str:
    """A positive number in four digits, rounded down."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{math.floor(value / step) * step:.4g}"


class Smoothing(Smoothed):
    """CERTIFY of Cohen et al. 2019: radii of the smoothed classifier g, each false with probability <= alpha."""

    result: ClassVar[type[Result]] = SmoothingResult
    passing: ClassVar[tuple[str, ...]] = DRAWN

    kind: Literal["smoothing"] = "smoothing"
    n0: int = Field(default=100, ge=1, le=1_000_000, description="Pilot samples: they choose the class.")
    n: int = Field(
        default=100_000, ge=1, le=1_000_000_000, description="Estimation samples: they certify it. To decide: at most."
    )
    mode: Literal["radius", "decide"] = Field(
        default="radius",
        description="radius: how far, by n samples. decide: whether as far as target_radius, by as few as that needs. "
        "certified: the radius is at least that; false with probability <= alpha. not certified: it is less; false "
        "with probability <= 0.001. undecided: n samples can't tell, as it is too near.",
    )
    target_radius: float | None = Field(
        default=None, gt=0, le=1e9, description="The radius to decide about, in the units of the input and of norm."
    )
    norm: Norm = Field(
        default="l2",
        description="Norm of the radii; linf: r / sqrt(d) for an l2 radius r, l1: r. Unset, under uniform or laplace "
        "noise: l1, the only one they certify.",
    )
    scores: Literal["hard", "soft"] = Field(
        default="hard",
        description="hard: g counts votes. soft: g is the class of the largest mean score (LVM-RS; the pilot chooses "
        "map and factor), whose radius grows where the network's Lipschitz constant is small.",
    )
    cross_check: CrossCheck = None

    @model_validator(mode="before")
    @classmethod
    def _norm_of_the_noise(cls, data: object) -> object:
        noise = data.get("noise") if isinstance(data, dict) else None
        law = LAWS.get(noise) if isinstance(noise, str) else None
        if isinstance(data, dict) and law is not None and law.norm != "l2" and "norm" not in data:
            return data | {"norm": law.norm}
        return data

    @model_validator(mode="after")
    def _noise_fits_the_norm(self) -> Self:
        norm = LAWS[self.noise].norm
        if norm not in ("l2", self.norm):
            raise ValueError(
                f"{self.noise} noise certifies {norm} radii: leave norm out, or take gaussian noise for {self.norm}."
            )
        return self

    @property
    def soft(self) -> bool:
        """Whether g is by mean scores; else by votes."""
        return self.scores == "soft"

    @model_validator(mode="after")
    def _scores_fit(self) -> Self:
        if self.soft:
            if self.precision != "float32":
                raise ValueError("soft scores are of the network in full precision; take hard scores for bfloat16.")
            if self.noise != "gaussian" or self.mode != "radius":
                raise ValueError(
                    "soft scores certify under gaussian noise, in mode radius; take hard scores for others."
                )
            if not (2 <= self.n0 <= 10_000 and self.n >= 2):
                raise ValueError("soft scores have a variance: n0 from 2 to 10,000 pilot samples, and n >= 2.")
        return self

    def _hopeless(self, alpha: float) -> str | None:
        # All n samples agreeing gives the lower bound alpha^(1/n), which must exceed 1/2 for any radius at all.
        least = math.floor(-math.log2(alpha)) + 1
        if self.n >= least:
            return None
        return (
            f"n = {self.n} can never certify at alpha = {alpha:g}: even if all samples agree the lower bound "
            f"alpha^(1/n) is at most 1/2. Use n >= {least}, or a larger alpha."
        )

    @model_validator(mode="after")
    def _decides_about_a_radius_in_reach(self) -> Self:
        if (self.mode == "decide") != (self.target_radius is not None):
            raise ValueError("target_radius belongs to mode decide, and mode decide needs it.")
        if self.norm != "linf":  # whose reach depends on the input's dimensions: `out_of_reach` is asked again
            reason = self.out_of_reach(1)
            if reason:
                raise ValueError(reason)
        return self

    def out_of_reach(self, dimensions: int, inputs: int = 1) -> str | None:
        """Why the target radius cannot be certified of one of so many inputs, whatever the votes; None if it can, or
        there is no target."""
        if self.target_radius is None:
            return None
        alpha = self.alpha / inputs if self.family_wise else self.alpha
        most = self._most(alpha * LATE)
        if self.norm == "linf":
            most /= math.sqrt(dimensions)
        if self.target_radius < most:
            return None
        share = f"{self.alpha}" + (f" / {inputs}" if self.family_wise and inputs > 1 else "")
        return (
            f"not even {self.n} samples that all agree certify {self.target_radius} in {self.norm} at sigma = "
            f"{self.sigma} and alpha = {share}: the most is {_below(most)}. Raise n or sigma, or ask for less."
        )

    def _most(self, alpha: float) -> float:
        """The radius that n samples certify if all agree, in the norm of the noise."""
        miss = min(-math.expm1(math.log(alpha) / self.n), 0.5)
        law = LAWS[self.noise]
        return law.ideal(miss, law.stretch(self.sigma))

    def unfit(self, about: About) -> Unfit | None:
        if found := super().unfit(about):
            return found
        reason = self.out_of_reach(about.dimensions, about.inputs)
        return Unfit(reason, "target_radius") if reason else None

    @property
    def stages(self) -> tuple[Stage, ...]:
        # A decision stops as soon as it can, and means of scores need what the pilot chose.
        estimate = Stage("estimate", "counts", self.n, apart=self.mode == "radius" and not self.soft)
        return Stage("pilot", "pilot_counts", self.n0), estimate

    def chance(self, inputs: int) -> float:
        return ATTACK_LEVEL + (self.alpha / inputs if self.family_wise else self.alpha)

    @property
    def known_up_to(self) -> float | None:
        return self.target_radius

    @property
    def exactly(self) -> dict[str, Json]:
        if self.soft:  # the pilot's choice, and which samples may count on a constant
            asked = {"n0": self.n0, "n": self.n}
            return {"pilot": asked, "estimate": asked}
        if self.target_radius is not None:  # what another test decided is not this one's answer
            asked = self.model_dump(include={"n0", "n", "target_radius", "norm"})
            return {"estimate": asked | {"test": DECISION_TEST}}
        return {}

    @classmethod
    def nothing(cls, row: Json) -> str:
        pilot_class = row.get("pilot_class")
        return (row.get("decision") or "abstained") + ("" if pilot_class is None else f" (pilot: {pilot_class})")

    def expected_samples(self, inputs: int) -> int:
        return super().expected_samples(inputs) // (1 if self.target_radius is None else SAVED_BY_DECIDING)

    def cost(self, span: float | None = None) -> int:
        return self.n0 + self.n

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        most = super().shard_inputs(span)
        if self.mode == "radius":
            return most
        together = min(TO_FILL_A_BATCH, SHARD_SAMPLES * SAVED_BY_DECIDING // self.cost(span))
        return max(most, together if inputs is None else min(together, inputs // WORKERS_SHARE))
