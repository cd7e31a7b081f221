"""What is asked of smoothed networks: each method and its parameters."""

import math
from abc import ABC, abstractmethod
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from radii.laws import LAWS, LawName
from radii.methods.common import (
    SAVED_BY_DECIDING,
    SHARD_SAMPLES,
    STRICT,
    TO_FILL_A_BATCH,
    WORKERS_SHARE,
    CrossCheck,
)
from radii.norms import Norm

MOST_VALUES = 2**26  # of an input, in memory at once: 256 MiB in float32
MOST_MEDIAN_SAMPLES = 1_000_000
MOST_BOUNDED = 100  # inputs of a shard: what the ledger knows of them is in memory at once
LATE = 0.8  # of alpha, for a decision's last bound: 1 - EARLY of radii.smoothing.sequential; a test holds them together
LEAST_ALPHA = 1e-300  # its parts, for inputs and outputs, are numbers yet
LEAST_SIGMA = 1e-28  # values are drawn as fine as 2^-31 sigma, which is yet a normal number of float32


def _below(value: float) -> str:
    """A positive number in four digits, rounded down."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{math.floor(value / step) * step:.4g}"


class Smoothed(BaseModel, ABC):
    """What is asked of the smoothed network g, by Monte Carlo: the noise that makes g of the network, and alpha."""

    model_config = STRICT

    kind: Literal["smoothing", "prediction", "median"]
    noise: LawName = Field(
        default="gaussian", description="Law of the noise an axis. gaussian certifies l2, uniform and laplace l1."
    )
    sigma: float = Field(gt=0, le=1e3, description="Standard deviation of the noise an axis, in input units.")
    alpha: float = Field(
        default=0.001,
        gt=0,
        lt=1,
        description="Probability that what is said of an input (its certificate, g's class, the bounds of all outputs) "
        "is false, at most.",
    )
    grid: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="auto: noise in whole steps of 8-bit inputs, exact in floating point, where the data set is 8-bit; "
        "on: of other inputs the noisy copies are rounded to those steps, which is what that noise certifies.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What the network runs in. bfloat16, quicker where a processor is made for it, makes another "
        "classifier of it: serve that one.",
    )
    family_wise: bool = Field(
        default=False, description="alpha is for all inputs of the certification together: each gets alpha / N."
    )

    @field_validator("alpha")
    @classmethod
    def _alpha_has_parts(cls, alpha: float) -> float:
        if alpha < LEAST_ALPHA:  # as a schema's bound it is quoted with all its zeros
            raise ValueError(f"Input should be at least {LEAST_ALPHA:g}")
        return alpha

    @field_validator("sigma")
    @classmethod
    def _noise_is_drawn_in_float32(cls, sigma: float) -> float:
        if sigma < LEAST_SIGMA:
            raise ValueError(
                f"sigma = {sigma:g} is too small for float32, in which noise is drawn: use {LEAST_SIGMA:g} or more, "
                "or scale the inputs up"
            )
        return sigma

    @model_validator(mode="after")
    def _some_answer_is_possible(self) -> Self:
        if reason := self.hopeless(1):
            raise ValueError(reason)
        return self

    def hopeless(self, inputs: int, outputs: int = 1) -> str | None:
        """Why n samples can say nothing of any of so many inputs, whatever the votes; None if they can. ``outputs``: of
        a regressor, which share alpha."""
        return self._hopeless((self.alpha / inputs if self.family_wise else self.alpha) / outputs)

    @abstractmethod
    def _hopeless(self, alpha: float) -> str | None: ...

    @property
    def soft(self) -> bool:
        """Whether g is by mean scores; else by votes."""
        return False

    def rounded_to(self, grid: list[float] | None, of_model: list[float]) -> list[float] | None:
        """The range whose 255ths noisy copies are rounded to, ``of_model`` or none. ``grid``: of the data set."""
        return of_model if self.grid == "on" and grid is None else None

    @property
    def votes_depend_on(self) -> dict[str, object]:
        """What of the method, with model and input, settles each sample; later fields count where they are set."""
        asks = {"kind", "alpha", "n0", "n", "mode", "target_radius", "radius", "norm", "family_wise", "cross_check"}
        known = {"noise": self.noise, **self.model_dump(exclude=asks | {"grid"}, exclude_defaults=True)}
        # Once scores were of a file's outputs less a Softmax; now they are of what stands before any end that keeps the
        # order of the classes, which of some files are other scores.
        return known | {"scores": "soft, of logits"} if self.soft else known

    @abstractmethod
    def cost(self, span: float | None = None) -> int:
        """Units of progress an input is: samples. ``span``: of the range of 8-bit inputs; None for others."""

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        """Inputs a shard holds; of ``inputs`` in all, by default many."""
        return max(1, SHARD_SAMPLES // self.cost(span))


class Smoothing(Smoothed):
    """CERTIFY of Cohen et al. 2019: radii of the smoothed classifier g, each false with probability <= alpha."""

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

    def cost(self, span: float | None = None) -> int:
        return self.n0 + self.n

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        most = super().shard_inputs(span)
        if self.mode == "radius":
            return most
        together = min(TO_FILL_A_BATCH, SHARD_SAMPLES * SAVED_BY_DECIDING // self.cost(span))
        return max(most, together if inputs is None else min(together, inputs // WORKERS_SHARE))


class Prediction(Smoothed):
    """PREDICT of Cohen et al. 2019: the class of the smoothed classifier g, which is what certificates are about; or
    abstention. No radius."""

    kind: Literal["prediction"] = "prediction"
    n: int = Field(default=1000, ge=1, le=1_000_000_000, description="Samples: g's class is that of most of them.")

    def _hopeless(self, alpha: float) -> str | None:
        # 2 P(Binomial(n, 1/2) >= n) = 2^(1-n) is the least p-value there is; it is rounded up
        least = math.ceil(1 - math.log2(alpha) + 2e-9)
        if self.n >= least:
            return None
        return (
            f"n = {self.n} can never name a class at alpha = {alpha:g}: even if all samples agree the p-value 2^(1-n) "
            f"is above it. Use n >= {least}, or a larger alpha."
        )

    def cost(self, span: float | None = None) -> int:
        return self.n


class Median(Smoothed):
    """Median smoothing (Chiang et al. 2020): of a regressor's outputs, bounds on their medians under the noise that
    hold at every point within an l2 radius."""

    kind: Literal["median"] = "median"
    noise: Literal["gaussian"] = "gaussian"
    radius: float = Field(ge=0, le=1e9, description="The l2 radius within which the bounds hold, in input units.")
    n: int = Field(
        default=10_000,
        ge=1,
        le=MOST_MEDIAN_SAMPLES,
        description="Samples: the bounds are two of an output's n sorted values.",
    )

    def _hopeless(self, alpha: float) -> str | None:
        # The smallest of n outputs is a bound at all where (1 - p)^n <= alpha/2; p and the tail are rounded as there.
        p = 0.5 * math.erfc(self.radius / self.sigma / math.sqrt(2) * (1 + 1e-9)) * (1 - 1e-9)
        least = math.inf if p < 1e-300 else math.ceil((math.log(2) - math.log(alpha) + 1e-9) / -math.log1p(-p))
        if self.n >= least:
            return None
        remedy = f"Use n >= {least}, a" if least <= MOST_MEDIAN_SAMPLES else "Use a"
        return (
            f"n = {self.n} can bound no median within {self.radius:g} at sigma = {self.sigma:g} and alpha = {alpha:g} "
            f"(of one output): it may lie beyond all n values. {remedy} smaller radius, a larger sigma or alpha."
        )

    def too_large(self, outputs: int) -> str | None:
        """Why the values of a network of so many outputs are too many to sort; None if they are not."""
        if self.n * outputs <= MOST_VALUES:
            return None
        return (
            f"n = {self.n} samples of {outputs} outputs are {self.n * outputs} values, of {MOST_VALUES} held: "
            f"use n <= {MOST_VALUES // outputs}"
        )

    def cost(self, span: float | None = None) -> int:
        return self.n

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return min(MOST_BOUNDED, super().shard_inputs(span))
