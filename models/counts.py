"""What counting comes to, as runners say it: chunks of samples, and results of inputs (no database: ``models.types``)."""

from dataclasses import dataclass

from models.types import Json

Counts = list[int]


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
