"""Reports of bounds, compared."""

from typing import Any

import pytest


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what a clock said."""
    layers = [{key: value for key, value in layer.items() if key != "seconds"} for layer in report["layers"]]
    return {**{key: value for key, value in report.items() if key != "seconds"}, "layers": layers}


def nearly(one: Any, other: Any) -> bool:
    """The same but for the last digits of numbers: BLAS sums in an order of its own for each kernel and thread."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(nearly(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(nearly, one, other))
    return one == other or (isinstance(one, float) and one == pytest.approx(other, rel=1e-9, abs=1e-12))
