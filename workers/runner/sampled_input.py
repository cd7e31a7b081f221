"""One input of a smoothing shard: what its samples follow from, what is counted of them, and the attack on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.counts import REUSED, ChunkCounts
from models.types import Json
from radii.attacks import SmoothedAttack
from radii.execution.executors import START
from radii.methods import Smoothed
from radii.norms import Norm
from radii.smoothing import Noise, chunk_seed, chunks, input_digest, noise_key
from radii.smoothing.keys import Stage
from radii.smoothing.noise import Part
from radii.smoothing.prediction import Counts
from radii.smoothing.sampling import Classifier
from radii.smoothing.simplex import Scoring
from workers.messages import Order
from workers.runner.attacks import attacked
from workers.runner.execution import Runs
from workers.runner.heartbeat import stepping
from workers.runner.loaded_model import Emit, LoadedModel


@dataclass(frozen=True)
class SampledInput:
    """One input, and everything that its samples follow from."""

    method: Smoothed
    model: LoadedModel
    order: Order
    emit: Emit
    runs: Runs
    noise: Noise
    alpha: float
    known: Mapping[tuple[int, str, int], ChunkCounts]
    index: int
    row: npt.NDArray[np.float32]
    exact: bool
    """In float64, on the CPU, where a radius counts on the constant of the network in real arithmetic."""

    @cached_property
    def x(self) -> Tensor:
        return torch.from_numpy(self.row).to("cpu" if self.exact else self.model.device)

    @cached_property
    def classifier(self) -> Classifier:
        """What is sampled, by torch, with gradients: noisy copies (batch, *shape) to logits."""
        # The module is made here, outside inference mode, where it would have no gradients for an attack.
        if self.exact:
            network = self.model.logits
            return stepping(lambda noisy: network(noisy.double()))
        return stepping(self.runs.rounding(self.model.network(soft=self.method.soft, dtype=self.runs.dtype)))

    @cached_property
    def logits(self) -> Classifier:
        """The same classifier before an end that hides its margins, a softmax say: for an attack's gradients alone."""
        return self.classifier if self.exact else stepping(self.runs.rounding(self.model.network(soft=True)))

    @cached_property
    def call(self) -> Json:
        """What all samples have in common."""
        name = self.noise.name + ("/soft" if self.method.soft else "")
        key = noise_key(
            bytes.fromhex(self.order.secret),
            model_digest=self.model.graph.digest,
            input_digest=input_digest(self.row),
            noise=name,
            sigma=self.method.sigma,
        )
        return {"num_classes": self.model.graph.num_classes, "noise": self.noise, "key": key}

    def sample(self, of_chunk: Callable[..., Any], stage: Stage, number: int, size: int) -> Any:
        """What ``of_chunk`` makes of the first ``size`` samples of a chunk."""
        chunk = {"stage": stage, "number": number, "size": size, "batch_size": self.runs.execution.batch_size}
        return of_chunk(self.runs.classifier, self.x, **chunk, **self.call)

    @property
    def law(self) -> Json:
        size = self.row.size
        return {"alpha": self.alpha, "sigma": self.method.sigma, "tail_mass": self.noise.tail_mass(size)}

    def chunk(self, stage: Stage, number: int) -> ChunkCounts | None:
        """What is counted already."""
        return self.known.get((self.index, stage, number))

    def keep(self, stage: Stage, number: int, counts: Counts, scores: Json | None = None) -> None:
        counted = [int(count) for count in counts]
        self.emit(ChunkCounts(self.index, stage, number, counted, scores))

    def counted(self, stage: Stage, number: int) -> Counts | None:
        """The votes of a chunk, where they are known."""
        if (first := self.chunk(stage, REUSED)) is not None and number < chunks(sum(first.counts)):
            return list(first.counts) if number == 0 else [0] * len(first.counts)
        chunk = self.chunk(stage, number)
        return None if chunk is None else list(chunk.counts)

    def part(self, stage: Stage, number: int, size: int) -> Part:
        """The first ``size`` samples of a chunk, for a batch that inputs share."""
        return Part(chunk_seed(self.call["key"], stage, number), self.x, size)

    def attack(self, prediction: int, radius: float, norm: Norm, scoring: Scoring) -> Json:
        attack = partial(
            SmoothedAttack(batch_size=self.order.batch_size or START),
            self.classifier,
            self.x,
            noise=self.noise,
            num_classes=self.call["num_classes"],
            prediction=prediction,
            radius=radius,
            norm=norm,
            key=self.call["key"],
            scoring=scoring,
            logits=self.logits,
        )
        return attacked(self.row, attack)
