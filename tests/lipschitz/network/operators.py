"""Operators by the names under which they are entered."""

from typing import Any

from radii.graph import OPERATORS


def new_operator(name: str, *arguments: Any, **settings: Any) -> Any:
    """What it takes is known to its own class alone."""
    return OPERATORS[name](*arguments, **settings)
