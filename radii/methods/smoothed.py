"""What the methods have in common that ask something of a smoothed network."""

from abc import ABC, abstractmethod
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from radii.methods.common import SHARD_SAMPLES, STRICT
from radii.norms import Law

LEAST_ALPHA = 1e-300  # its parts, for inputs and outputs, are numbers yet
LEAST_SIGMA = 1e-28  # values are drawn as fine as 2^-31 sigma, which is yet a normal number of float32


class Smoothed(BaseModel, ABC):
    """What is asked of the smoothed network g, by Monte Carlo: the noise that makes g of the network, and alpha."""

    model_config = STRICT

    kind: Literal["smoothing", "prediction", "median"]
    noise: Law = Field(
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
