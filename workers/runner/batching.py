"""Votes for many inputs at a time: what their procedures ask for is counted in batches that they share.

A GPU is idle for most of a batch that holds one input's next look. On a CPU nothing is gained by it and results would
arrive later, so there inputs come one after the other, and their chunks one by one (`Runs.inputs_per_batch` is 1).
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from models.types import Json
from radii.smoothing import CHUNK, count_chunk
from radii.smoothing.prediction import Counts
from radii.smoothing.procedure import Procedure, Request, Votes
from radii.smoothing.sampling import count_parts
from workers.runner.execution import Runs
from workers.runner.sampled_input import SampledInput

CALL = 16 * CHUNK
"""Samples that are counted before any of them is known: what is lost with a worker, and how often progress is seen."""

BETWEEN_CALLS = 0.5  # batches, about: while votes come back and procedures think, a device has nothing to do

Said = tuple[int | None, float | None, Json]
"""Prediction, radius in the norm that was asked, and what is said of them."""


class _Asking:
    """An input whose procedure is under way.

    Attributes:
        wanted: chunks that nobody has counted yet.
        left: samples in them.
        seconds: of work on it; of a call that it shared, the share of its samples.
    """

    def __init__(self, task: SampledInput, procedure: Procedure[Said]) -> None:
        self.task, self.procedure = task, procedure
        self.wanted: deque[Request] = deque()
        self.left = 0
        self.seconds = 0.0
        self.votes: Votes = np.zeros(task.model.graph.num_classes + 1, np.int64)
        self.started = False

    def advance(self) -> Said | None:
        """What is said of it; None where that takes votes that nobody has counted."""
        started = time.perf_counter()
        try:
            while not self.wanted:
                requests = self.procedure.send(self.votes) if self.started else next(self.procedure)
                self.started, self.votes = True, np.zeros_like(self.votes)
                for request in requests:
                    if (votes := self.task.counted(request.stage, request.number)) is not None:
                        self.votes += votes
                    else:
                        self.wanted.append(request)
                        self.left += request.size
        except StopIteration as end:
            said: Said = end.value
            return said
        finally:
            self.seconds += time.perf_counter() - started
        return None

    def take(self, request: Request, votes: Counts, seconds: float) -> None:
        """The votes of the first chunk that is wanted."""
        self.wanted.popleft()
        self.left -= request.size
        self.votes = self.votes + np.asarray(votes)
        self.seconds += seconds
        self.task.keep(request.stage, request.number, votes)


def answers(
    tasks: Iterable[tuple[SampledInput, Procedure[Said]]], runs: Runs
) -> Iterator[tuple[SampledInput, Said, float]]:
    """Each input, what is said of it, and the seconds that it took, as soon as its procedure ends.

    Chunks are kept as they are counted, before any procedure hears of them: an error in one loses nothing of others.
    """
    waiting = iter(tasks)
    window: list[_Asking] = []
    while True:
        # The first one tells whether samples are needed at all: what runs them is settled no sooner.
        while not window or (len(window) < runs.inputs_per_batch and sum(asking.left for asking in window) < CALL):
            if (entering := next(waiting, None)) is None:
                break
            asking = _Asking(*entering)
            if (said := asking.advance()) is None:
                window.append(asking)
            else:
                yield asking.task, said, asking.seconds
        if not window:
            return
        started, call = time.perf_counter(), _next(window, runs)
        counts = _count(call, runs)
        a_sample = (time.perf_counter() - started) / sum(request.size for _, request in call)
        for (asking, request), votes in zip(call, counts, strict=True):
            asking.take(request, votes, a_sample * request.size)
        for asking in [asking for asking in window if not asking.wanted]:
            if (said := asking.advance()) is not None:
                window.remove(asking)
                yield asking.task, said, asking.seconds


def _next(window: Sequence[_Asking], runs: Runs) -> list[tuple[_Asking, Request]]:
    """What to count now: chunks of those that came first, so many of them that batches are filled best."""
    if runs.inputs_per_batch == 1:
        return [(window[0], window[0].wanted[0])]
    call: list[tuple[_Asking, Request]] = []
    taken, chosen, best = 0, 0, 0.0
    for entry in ((asking, request) for asking in window for request in asking.wanted):
        taken += entry[1].size
        if call and taken > CALL:
            break
        call.append(entry)
        rate = taken / (math.ceil(taken / runs.execution.batch_size) + BETWEEN_CALLS)
        if rate >= best:
            best, chosen = rate, len(call)
    return call[:chosen]


def _count(call: Sequence[tuple[_Asking, Request]], runs: Runs) -> list[Counts]:
    if runs.inputs_per_batch == 1:
        return [asking.task.sample(count_chunk, *request) for asking, request in call]
    first = call[0][0].task
    counts = count_parts(
        runs.classifier,
        [asking.task.part(*request) for asking, request in call],
        num_classes=first.model.graph.num_classes,
        noise=first.noise,
        batch_size=runs.execution.batch_size,
    )
    return list(counts)
