"""Radii by bounds near each input: the method."""

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from radii.methods.common import CrossCheck
from radii.methods.lines import DECIMALS, Line, down, text
from radii.methods.local.report import LocalReport
from radii.methods.local.result import LocalResult
from radii.methods.method import About, Json, Method
from radii.methods.result import Result
from radii.norms import Norm

INPUTS = 100  # of a shard, until its pace is known: an input takes a tenth of a second, or minutes


class Local(Method):
    """Deterministic radii of the network f itself: linear relaxation near each input (CROWN), rounding proved; or by
    its Lipschitz bound where that says more."""

    applies_as: ClassVar[str] = "local"
    denoised: ClassVar[bool] = False
    result: ClassVar[type[Result]] = LocalResult
    report: ClassVar[type[BaseModel] | None] = LocalReport
    figures: ClassVar[dict[str, tuple[str, ...]]] = {"local": ("lipschitz", "valid_range")}
    headings: ClassVar[tuple[str, ...]] = (
        "index",
        "label",
        "prediction",
        "radius",
        "by",
        "Lipschitz radius",
        "not proved",
        "attack",
    )

    kind: Literal["local"] = "local"
    norm: Norm = Field(default="l2", description="Norm of the radii.")
    effort: Literal["quick", "default", "high"] = Field(
        default="default",
        description="quick: fixed slopes; default: slopes found by gradient ascent; high: the ball is cut where "
        "activations bend, which may take minutes an input.",
    )
    box: bool = Field(
        default=False,
        description="Claim nothing of inputs outside of the model's declared range: larger radii, of another claim.",
    )
    target_radius: float | None = Field(
        default=None, gt=0, le=1e9, description="Decide about this radius alone, which is quicker than a search."
    )
    cross_check: CrossCheck = None

    def cost(self, span: float | None = None) -> int:
        return 1

    def shard_inputs(self, span: float | None = None, inputs: int | None = None) -> int:
        return INPUTS

    @property
    def known_up_to(self) -> float | None:
        return self.target_radius

    def question(self, about: About) -> Json:
        return super().question(about) | ({"valid_range": about.range} if self.box else {})

    @classmethod
    def lines(cls, row: Json) -> list[Line]:
        decimals = DECIMALS.get(row["norm"], 4)
        [line] = super().lines(row)
        beside = (row.get(name) for name in ("lipschitz_radius", "not_proved", "nearest_attack"))
        figures = ("-" if figure is None else down(figure, decimals) for figure in beside)
        return [line._replace(cells=(*line.cells, text(row.get("rule")), *figures))]

    @classmethod
    def nothing(cls, row: Json) -> str:
        return row.get("decision") or "abstained"
