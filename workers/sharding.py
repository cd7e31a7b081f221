"""How long a shard is: its pace is measured while it is computed, and what takes too long is shared."""

import time

from models.counts import ChunkCounts, InputResult
from models.repositories.shards import WorkOrder
from models.repositories.splits import CHUNK, LONGEST
from workers.poison import amid_inputs

CHOOSING = "choosing what runs the samples"
LEAST_SECONDS = 0.02  # of which a pace is made: less is mostly what begins and ends a shard
CPU = "cpu"


class Pacer:
    """Measures how fast a shard gets on, and says when others are to have the rest of it."""

    def __init__(self, order: WorkOrder, seconds: float) -> None:
        """``seconds``: that a shard is to take."""
        self.order, self.seconds = order, seconds
        self.units = 0
        self.busy = 0.0
        self.results = 0
        self.chunks = 0
        self._since: float | None = None

    def enters(self, phase: str) -> None:
        """The runner does that from now on."""
        now = time.monotonic()
        if self._since is not None:
            self.busy += now - self._since
        self._since = now if amid_inputs(phase) and phase != CHOOSING else None

    def counted(self, chunk: ChunkCounts) -> None:
        """A chunk was."""
        self.units += sum(chunk.counts)
        self.chunks += 1

    def said(self, result: InputResult) -> None:
        """An input has its result, whose chunks, if it has any, were counted before."""
        samples = "counts" in result.detail
        self.units += int(result.detail.get("unspent", 0)) if samples else self.order.cost
        self.results += 1

    @property
    def per_second(self) -> float | None:
        """Units of progress a second; None where there was too little."""
        busy = self._spent()
        return self.units / busy if busy >= LEAST_SECONDS and self.units else None

    def enough(self) -> bool:
        """Whether it takes too long, and there is something that others can do of it."""
        if self._spent() <= LONGEST * self.seconds:
            return False
        return self._inputs_are_left() or self._samples_are_left()

    def _spent(self) -> float:
        return self.busy + (0.0 if self._since is None else time.monotonic() - self._since)

    def _inputs_are_left(self) -> bool:
        return 0 < self.results < len(self.order.indices)

    def _samples_are_left(self) -> bool:
        """Of the input that is under way, or of the part: more than a shard's."""
        pace = self.per_second
        if not self.order.shareable or pace is None or not self.chunks:
            return False
        part = self.order.part
        of_all = self.order.cost if part is None else (part["stop"] - part["first"]) * CHUNK
        left = of_all - self.units if len(self.order.indices) == 1 else self.order.cost
        return self.results < len(self.order.indices) and left > LONGEST * self.seconds * pace


def kind_of_device(described: str) -> str:
    """What paces are known by: one for all CPUs, whose instructions say little of their speed."""
    return CPU if described.startswith(CPU) else described
