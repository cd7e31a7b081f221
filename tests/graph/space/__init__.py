"""For every operator the whole space of its nodes: attributes, ranks, sizes, operands, spellings of all opsets."""

from contextlib import suppress
from functools import cache

from hypothesis import given

from radii.graph import UnsupportedModel, read_onnx
from tests.graph.case import Case
from tests.graph.space import (  # noqa: F401 (each registers its spaces)
    activation,
    arithmetic,
    layout,
    linear,
    normalization,
    reduction,
    resize,
    windows,
)
from tests.graph.space.damage import damaged
from tests.graph.space.draw import SPACES, Space, cases, examples, versions

__all__ = ["SPACES", "Space", "cases", "corpus", "damaged", "examples", "versions"]


@cache
def corpus(each: int = 5) -> list[Case]:
    """A few cases of every operator, all of which are read."""
    return [case for operator in sorted(SPACES) for case in readable(operator, 4 * each)[:each]]


def readable(operator: str, drawn: int) -> list[Case]:
    """Those of so many cases of an operator that are read."""
    kept: list[Case] = []

    @examples(drawn, fresh=False)
    @given(cases(operator))
    def collect(case: Case) -> None:
        with suppress(UnsupportedModel):
            read_onnx(case.data())
            kept.append(case)

    collect()
    return kept
