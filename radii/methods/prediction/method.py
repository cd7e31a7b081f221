"""The class of a smoothed classifier: the method."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from radii.methods.lines import Line, above, text
from radii.methods.method import Json, Stage
from radii.methods.prediction.result import PredictionResult
from radii.methods.result import Result
from radii.methods.smoothed import DRAWN, Smoothed


class Prediction(Smoothed):
    """PREDICT of Cohen et al. 2019: the class of the smoothed classifier g, which is what certificates are about; or
    abstention. No radius."""

    result: ClassVar[type[Result]] = PredictionResult
    passing: ClassVar[tuple[str, ...]] = DRAWN
    doing: ClassVar[str | None] = "predicting"
    no_curve: ClassVar[str | None] = (
        "predicts and certifies no radius, so it has no curve; its summary has the accuracy"
    )
    headings: ClassVar[tuple[str, ...]] = ("index", "label", "prediction", "p-value")

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

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("predict", "counts", self.n, apart=True),)

    @classmethod
    def lines(cls, row: Json) -> list[Line]:
        prediction = "abstained" if row["abstained"] else text(row["prediction"])
        cells = (text(row["index"]), text(row["label"]), prediction, above(row["p_value"], 2))
        return [Line(cells, not row["abstained"])]
