"""What the methods have in common that ask something of a smoothed network. See docs/numerics.md 7.5."""

import math
from abc import abstractmethod
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from radii.laws import LawName
from radii.methods.common import SHARD_SAMPLES
from radii.methods.method import About, Json, LedgerQuestion, Method, Unfit

GRIDS = [[0.0, 1.0], [0.0, 255.0]]
"""Ranges of 8-bit inputs, whose 255ths noisy copies may be rounded to."""
DECISION_TEST = "bets on both sides"  # TEST of radii.smoothing.sequential; a test holds them together
DRAWN = ("executor", "batch_size", "device")
"""What drew samples: of votes, which are the same whatever drew them, it is said by results that drew theirs."""
LEAST_ALPHA = 1e-300  # its parts, for inputs and outputs, are numbers yet
LEAST_SIGMA = 1e-28  # values are drawn as fine as 2^-31 sigma, which is yet a normal number of float32


class Smoothed(Method):
    """What is asked of the smoothed network g, by Monte Carlo: the noise that makes g of the network, and alpha."""

    unit: ClassVar[Literal["samples", "inputs"]] = "samples"
    answers_for: ClassVar[str] = "the smoothed classifier"

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

    def rounded_to(self, grid: list[float] | None, of_model: list[float] | None) -> list[float] | None:
        """The range whose 255ths noisy copies are rounded to, ``of_model`` or none. ``grid``: of the data set."""
        return of_model if self.grid == "on" and grid is None else None

    @property
    def votes_depend_on(self) -> Json:
        """What of the method, with model and input, settles each sample; later fields count where they are set."""
        asks = {"kind", "alpha", "n0", "n", "mode", "target_radius", "radius", "norm", "family_wise", "cross_check"}
        known: Json = {"noise": self.noise, **self.model_dump(exclude=asks | {"grid"}, exclude_defaults=True)}
        # Once scores were of a file's outputs less a Softmax; now they are of what stands before any end that keeps the
        # order of the classes, which of some files are other scores.
        return known | {"scores": "soft, of logits"} if self.soft else known

    def expected_samples(self, inputs: int) -> int:
        """About how many so many inputs take."""
        return inputs * self.cost()

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return max(1, SHARD_SAMPLES // self.cost(span))

    def unfit(self, about: About) -> Unfit | None:
        if self.grid == "on" and about.grid is None:
            words = "the data set's values are not whole 255ths of 0 to 1, nor whole numbers from 0 to 255"
            if self.soft:
                return Unfit(f"{words}, and soft scores do not round; leave grid at auto", "grid")
            if about.range not in GRIDS:
                return Unfit(f"{words}, nor is the model's range one of those; leave grid at auto", "grid")
        reason = self.hopeless(about.inputs, about.outputs)
        return Unfit(reason, "n") if reason else None

    def question(self, about: About) -> Json:
        whole = super().question(about)
        whole["method"]["alpha"] = self._alpha(about)
        return whole | {"rounded": self.rounded_to(about.grid, about.range), "test": DECISION_TEST}

    @property
    def exactly(self) -> dict[str, Json]:
        """By stage, where an entry in the ledger is of the very same question alone: that question."""
        return {}

    def _alpha(self, about: About) -> float:
        """The share of alpha that an input has, rounded down."""
        return math.nextafter(self.alpha / about.inputs, 0.0) if self.family_wise else self.alpha

    def ledger_question(self, about: About) -> LedgerQuestion:
        noise = self.votes_depend_on | {"grid": None if self.grid == "off" else about.grid}
        if ends := self.rounded_to(about.grid, about.range):
            noise["rounded"] = ends
        return LedgerQuestion(
            noise, {stage: question | {"alpha": self._alpha(about)} for stage, question in self.exactly.items()}
        )
