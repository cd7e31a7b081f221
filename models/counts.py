"""What counting comes to, as runners say it: chunks of samples, and results of inputs. Needs no database."""

from dataclasses import dataclass

from models.types import Json

Counts = list[int]

ATTACK_FAILED = "the attack failed; the worker's log says why"
"""Why a result's ``attack`` has not checked it, where that is no property of the input."""
REUSED = -1
"""The number of a chunk that is the sum over the first samples of its stream, from the ledger."""


@dataclass(frozen=True)
class ChunkCounts:
    """The counts per class of one finished chunk."""

    index: int
    stage: str
    number: int
    counts: Counts
    scores: Json | None = None

    @property
    def kept(self) -> Json:
        """The scores. Raises ``ValueError`` where there are none, as of votes."""
        if self.scores is None:
            raise ValueError(f"chunk {self.number} of {self.stage} has no scores")
        return self.scores


@dataclass(frozen=True)
class InputResult:
    """What was certified for one input."""

    index: int
    label: int | None
    prediction: int | None
    radius: float | None
    abstained: bool
    detail: Json
