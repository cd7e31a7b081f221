"""The certification methods and their parameters: the one definition that API, workers and client share.

Needs pydantic alone: no torch, so the API process may import it. Defaults are the field's (Cohen et al. 2019:
n0 100, n 100,000, alpha 0.001).
"""

from typing import Annotated

from pydantic import Field, TypeAdapter

from radii.methods.lipschitz.method import Lipschitz
from radii.methods.median.method import Median
from radii.methods.prediction.method import Prediction
from radii.methods.smoothed import Smoothed
from radii.methods.smoothing.method import Smoothing
from radii.methods.splitting.method import Splitting

__all__ = [
    "METHODS",
    "AnyMethod",
    "Lipschitz",
    "Median",
    "Method",
    "Prediction",
    "Smoothed",
    "Smoothing",
    "Splitting",
    "parse_method",
]

AnyMethod = Smoothing | Lipschitz | Prediction | Median | Splitting
Method = Annotated[AnyMethod, Field(discriminator="kind")]
METHODS: tuple[type[AnyMethod], ...] = (Smoothing, Lipschitz, Prediction, Median, Splitting)
_ADAPTER: TypeAdapter[AnyMethod] = TypeAdapter(Method)


def parse_method(data: object) -> AnyMethod:
    """The method that ``data`` (parsed JSON) describes. Raises ``pydantic.ValidationError``."""
    return _ADAPTER.validate_python(data)
