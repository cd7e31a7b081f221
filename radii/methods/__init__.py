"""The certification methods: the one definition that API, workers and client share.

Needs pydantic alone: no torch, so the API process may import it. Defaults are the field's (Cohen et al. 2019:
n0 100, n 100,000, alpha 0.001). A kind of method is a folder here and a line in ``METHODS``.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

from radii.methods.lipschitz.method import Lipschitz
from radii.methods.local.method import Local
from radii.methods.median.method import Median
from radii.methods.method import About, Method, Unfit
from radii.methods.prediction.method import Prediction
from radii.methods.result import Result
from radii.methods.smoothed import Smoothed
from radii.methods.smoothing.method import Smoothing
from radii.methods.splitting.method import Splitting

__all__ = [
    "KINDS",
    "METHODS",
    "About",
    "AnyMethod",
    "AnyResult",
    "Lipschitz",
    "Local",
    "Median",
    "Method",
    "Prediction",
    "Smoothed",
    "Smoothing",
    "Splitting",
    "Unfit",
    "kind_of",
    "parse_method",
]

METHODS: tuple[type[Method], ...] = (
    Smoothing,
    Lipschitz,
    Local,
    Prediction,
    Median,
    Splitting,
)
KINDS: dict[str, type[Method]] = {method.model_fields["kind"].default: method for method in METHODS}

if TYPE_CHECKING:
    AnyMethod = Method
    AnyResult = Result
else:  # what documents hold: pydantic tells the kinds apart by their names
    AnyMethod = Annotated[reduce(or_, METHODS), Field(discriminator="kind")]
    AnyResult = Annotated[reduce(or_, (method.result for method in METHODS)), Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Method] = TypeAdapter(AnyMethod)


def parse_method(data: object) -> Method:
    """The method that ``data`` (parsed JSON) describes. Raises ``pydantic.ValidationError``."""
    return _ADAPTER.validate_python(data)


def kind_of(document: dict[str, Any]) -> type[Method]:
    """What is known of the kind of method that a document (a method, or a result) is of; of a kind that a newer service
    knows, what most have in common."""
    return KINDS.get(document.get("kind", ""), Method)
