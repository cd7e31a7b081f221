"""What all methods share that sample a smoothed network: the noise of a shard, the executor that runs it, and what the
samples of each input say. What the order brings is not counted again."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from radii.methods import Smoothed
from radii.smoothing import Noise, chunk_size, grid_of, noise_of
from radii.smoothing.procedure import Procedure, Request
from workers.methods import Work
from workers.runner.batching import Said, answers
from workers.runner.execution import Runs
from workers.runner.heartbeat import phase
from workers.runner.loaded_model import inputs
from workers.runner.sampled_input import SampledInput


def runs_of(method: Smoothed, work: Work, *, exact: bool = False) -> Runs:
    """What runs the shard's samples, under tested noise. ``exact``: as of :class:`Runs`. Raises ``BrokenNoise``."""
    device = work.model.device
    # Scores of "round, then f" jump at every step of the grid: what counts on their constant has ideal noise.
    noise = noise_of("gaussian", method.sigma) if exact else _noise(method, work.order.grid, device)
    where = torch.device("cpu") if exact else device
    with phase("testing the noise", where):
        work.test(noise, where)
    return Runs(method, work.model, work.order, noise, work.ask, exact=exact, inputs_per_batch=work.inputs_per_batch)


def said(
    method: Smoothed, work: Work, runs: Runs, procedure: Callable[[SampledInput], Procedure[Said]]
) -> Iterator[tuple[SampledInput, Said]]:
    """What ``procedure`` comes to of every input that has no result yet, in the order in which that is known. Raises
    ``ValueError`` where the order does not add up."""
    model, order = work.model, work.order
    xs, _ = inputs(order, model.graph)
    known = {(chunk.index, chunk.stage, chunk.number): chunk for chunk in order.chunks}
    alpha = math.nextafter(method.alpha / order.inputs, 0.0) if method.family_wise else method.alpha
    tasks = (
        SampledInput(
            method, model, order, work.emit, runs, runs.noise, alpha, known, index, np.array(xs[index]), runs.exact
        )
        for index in order.indices
    )
    for task, (prediction, radius, detail), seconds in answers(((task, procedure(task)) for task in tasks), runs):
        # a median from the ledger says itself what drew and ran its samples
        yield task, (prediction, radius, {"noise": runs.noise.name, **runs.said(), **detail, "seconds": seconds})


def count_part(method: Smoothed, work: Work, runs: Runs) -> None:
    """Nothing but the chunks of the order's part, as whoever computes the whole input counts them."""
    part = work.order.part
    assert part is not None
    stage, samples = part["stage"], part["samples"]

    def procedure(_: SampledInput) -> Procedure[Said]:
        numbers = range(part["first"], part["stop"])
        yield [Request(stage, number, chunk_size(samples, number)) for number in numbers]
        return None, None, {}

    for _ in said(method, work, runs, procedure):
        pass


def _noise(method: Smoothed, grid: list[float] | None, device: torch.device) -> Noise:
    """In whole steps where the data set is 8-bit and the method does not mind."""
    if grid is not None and method.grid != "off":
        try:
            return grid_of(method.noise, method.sigma, *grid, device=device)
        except ValueError:  # so wide that no table holds it
            if method.grid == "on":
                raise
    return noise_of(method.noise, method.sigma, device)
