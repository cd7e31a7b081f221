"""Why a model is refused, in words its owner can act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that stands between a file and a graph."""

    node: int | None  # position in the file's node list; None: the file as a whole
    operator: str  # the ONNX operator, or "" where the file as a whole is meant
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = "" if self.node is None else f"node {self.node} ({self.operator}): "
        return f"{where}{self.reason}. {self.remedy}."


class Obstructed(Exception):
    """Something can't be had of a model. ``obstacles`` lists everything that was found, not the first only."""

    words: ClassVar[str] = "can't be certified"  # what that means for it

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        super().__init__("\n".join(str(obstacle) for obstacle in self.obstacles))


class UnsupportedModel(Obstructed):
    """The file can't become a graph."""


class Refusal(Exception):
    """Raised while one node is read; the reader adds the node's position and makes it an `Obstacle`."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}. {remedy}.")


def hold(true: bool, reason: str, remedy: str = "Export the model again") -> None:
    """Raise `Refusal` unless ``true``."""
    if not true:
        raise Refusal(reason, remedy)
