"""Median: bounds on a regressor's smoothed medians at every input of a shard.

All its outputs are drawn before anything is sorted, so what is kept of a chunk is that it was counted. Whoever takes
over in the middle of an input draws its samples again: the same ones.
"""

import math
from dataclasses import asdict

import numpy as np

from models.counts import REUSED
from models.types import Json
from radii.methods import Median
from radii.smoothing import CHUNK, chunk_size, chunks, median_bounds
from radii.smoothing.procedure import Procedure
from radii.smoothing.sampling import logits_chunk
from workers.methods import Work
from workers.runner.batching import Said
from workers.runner.heartbeat import phase
from workers.runner.loaded_model import inputs, result
from workers.runner.sampled_input import SampledInput
from workers.runner.smoothed_shard import runs_of, said


def compute(method: Median, work: Work) -> None:
    """Every input that has no result yet."""
    _, ys = inputs(work.order, work.model.graph)

    def procedure(task: SampledInput) -> Procedure[Said]:
        yield from ()  # it asks for no votes: it needs outputs, which it draws itself
        return _by_order(method, task)

    with phase("sampling", work.model.device):
        for task, (_, radius, detail) in said(method, work, runs_of(method, work), procedure):
            work.emit(result(task.index, ys, None, radius, radius is None, detail))


def _by_order(method: Median, task: SampledInput) -> tuple[None, float | None, Json]:
    """No class, the radius that was asked about where an output is bounded on both sides, and what is said of all."""
    if (known := task.chunk("median", REUSED)) is not None:
        counts, found = known.counts, known.kept
    else:
        counts, found = _drawn(method, task)
    bounded = any(None not in ends for ends in zip(found["lower"], found["upper"], strict=True))
    return None, method.radius if bounded else None, {"counts": counts, "n": sum(counts), **found}


def _drawn(method: Median, task: SampledInput) -> tuple[list[int], Json]:
    """Samples that are finite in all outputs, and those that are not; and the bounds, null where there is none."""
    outputs = np.empty((method.n, task.model.graph.num_classes), np.float32)
    counts = np.zeros(2, np.int64)
    for number in range(chunks(method.n)):
        size = chunk_size(method.n, number)
        values = outputs[number * CHUNK :][:size]
        values[:] = task.sample(logits_chunk, "median", number, size)
        if (known := task.chunk("median", number)) is not None:
            counts += known.counts
            continue
        finite = int(np.isfinite(values).all(axis=1).sum())
        counts += (finite, size - finite)
        task.keep("median", number, (finite, size - finite))
    bounds = median_bounds(outputs, radius=method.radius, **task.law)
    ends = {"median": bounds.median, "lower": bounds.lower, "upper": bounds.upper}
    found: Json = {name: [value if math.isfinite(value) else None for value in ends[name]] for name in ends}
    return counts.tolist(), found | asdict(task.runs.execution)
