"""The class of a smoothed classifier: the parameters."""

import math
from typing import Literal

from pydantic import Field

from radii.methods.smoothed import Smoothed


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
