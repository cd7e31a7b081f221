"""What a method is: its parameters, and all that anybody else needs to know of it. Nobody else asks which one it is.

A kind of method is a folder here with its parameters (``method.py``) and the results that it gives (``result.py``), a
line in ``radii.methods``, and ``workers/methods/KIND.py``, which computes.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel

from radii.methods.common import STRICT
from radii.methods.lines import DECIMALS, Line, down, text
from radii.methods.result import Result
from radii.norms import Norm

Json = dict[str, Any]


class About(NamedTuple):
    """The inputs and the model that a method is asked about, which fit each other."""

    grid: list[float] | None = None
    """The range that 255 steps of 8-bit inputs span; None for others."""
    range: list[float] | None = None
    """The least and the largest value of the model's inputs."""
    dimensions: int = 1
    """Numbers of an input."""
    outputs: int = 1
    """How many a regressor has; 1 for a classifier."""
    inputs: int = 1

    @property
    def span(self) -> float | None:
        """The span of the range of 8-bit inputs; None for others."""
        return None if self.grid is None else self.grid[1] - self.grid[0]


class Unfit(NamedTuple):
    """Why a method can't be asked, and the parameter that it is because of."""

    reason: str
    parameter: str


class Stage(NamedTuple):
    """Samples of an input that are counted in chunks, to one end."""

    name: str
    counts: str
    """The field of a result that holds the sum of its chunks."""
    samples: int | None = None
    """How many of a noise stream; None where nothing is drawn, and the ledger keeps nothing."""
    keeps: tuple[str, ...] = ()
    """Other fields of a result that the ledger keeps, of the very same question."""
    apart: bool = False
    """Whether all its samples are counted whatever they say, each chunk for itself: workers may share them."""


class LedgerQuestion(NamedTuple):
    """What the ledger of votes knows the samples of an input by."""

    noise: Json
    """What of method and data they depend on."""
    questions: dict[str, Json]
    """By stage, where an entry is of the very same question alone: that question."""


class Method(BaseModel, ABC):
    """A certification method and its parameters; unless it says otherwise a deterministic one, of classifiers."""

    model_config = STRICT

    kind: str

    task: ClassVar[Literal["classifier", "regressor"]] = "classifier"
    """The task of the models that it is about."""
    applies_as: ClassVar[str] = "smoothing"
    """Which of the verdicts on a model, which intake found, is about it. smoothing: whatever can be evaluated."""
    denoised: ClassVar[bool] = True
    """Whether a denoiser may stand in front of the model."""
    unit: ClassVar[Literal["samples", "inputs"]] = "inputs"
    """The unit of progress."""
    result: ClassVar[type[Result]] = Result
    """What it says of an input."""
    report: ClassVar[type[BaseModel] | None] = None
    """What it says of the model, once, besides its inputs."""
    figures: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Figures of a summary that are taken from the report, and their fields."""
    no_curve: ClassVar[str | None] = None
    """Why it has no curve; None: it has one."""
    answers_for: ClassVar[str] = "the network"
    """Whose answers the predictions are."""
    doing: ClassVar[str | None] = None
    """What it does, in a word or two; by default it certifies."""
    passing: ClassVar[tuple[str, ...]] = ()
    """Fields of a result that are of its certification, and not of the answer when that is known to the next one."""
    headings: ClassVar[tuple[str, ...]] = ("index", "label", "prediction", "radius")
    """The columns of a table of results."""

    @abstractmethod
    def cost(self, span: float | None = None) -> int:
        """Units of progress that an input is. ``span``: of the range of 8-bit inputs; None for others."""

    @abstractmethod
    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        """Inputs that a shard holds; of ``inputs`` in all, by default many."""

    def unfit(self, about: About) -> Unfit | None:
        """Why it can't be asked about those; None if it can."""
        return None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The samples that it counts in chunks."""
        return ()

    def chance(self, inputs: int) -> float:
        """That an attack on an input, of so many, contradicts what is said of it, at most; 0 for what is never false.
        Such contradictions fail a certification when there are more than that explains."""
        return 0.0

    @property
    def certifies_in(self) -> Norm | None:
        """The norm of its radii; None if it certifies none."""
        return getattr(self, "norm", None)

    @property
    def known_up_to(self) -> float | None:
        """The only radius that is asked about."""
        return None

    def question(self, about: About) -> Json:
        """All that an answer depends on besides the model, the input and its grid: which leaves out what is attacked,
        and how many share alpha."""
        return {"method": self.model_dump(exclude={"cross_check", "family_wise"})}

    def ledger_question(self, about: About) -> LedgerQuestion | None:
        """What the ledger knows it by; None where no noise is drawn."""
        return None

    @classmethod
    def lines(cls, row: Json) -> list[Line]:
        """A result in print: cells under ``headings``. Without a radius it abstained."""
        answer = ("-", cls.nothing(row))
        if row["radius"] is not None:
            answer = (text(row["prediction"]), down(row["radius"], DECIMALS.get(row["norm"], 4)))
        elif not row["abstained"]:
            answer = (text(row["prediction"]), "-")
        return [Line((text(row["index"]), text(row["label"]), *answer), not row["abstained"])]

    @classmethod
    def nothing(cls, row: Json) -> str:
        """In print, a result that is not certified."""
        return "abstained"
