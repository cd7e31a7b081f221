"""Splitting noise on a shard: input by input, chunk by chunk of offsets. Nothing is drawn, so nothing is reused."""

import time
from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from models.counts import ChunkCounts
from models.types import Json
from radii import methods
from radii.attacks import attack_splitting
from radii.execution.executors import START, TORCH, Execution
from radii.smoothing import Splitting, chunks
from radii.smoothing.splitting import count_offsets
from workers.methods import Work
from workers.runner.attacks import attacked
from workers.runner.heartbeat import phase, stepping
from workers.runner.loaded_model import clean_predictions, inputs, result

STAGE = "split"


def compute(method: methods.Splitting, work: Work) -> None:
    """Every input that has no result yet."""
    model, order, emit, part = work.model, work.order, work.emit, work.order.part
    assert order.grid is not None
    low, high = order.grid
    splitting = Splitting(method.sigma, low, high)
    xs, ys = inputs(order, model.graph)
    known = {(chunk.index, chunk.number): chunk.counts for chunk in order.chunks}
    # One function for all inputs: nothing is measured, and the same offsets share a batch each time.
    execution = Execution(TORCH, order.batch_size or START)
    call: Json = {"num_classes": model.graph.num_classes, "splitting": splitting, "batch_size": execution.batch_size}
    clean = clean_predictions(model.network(), xs, order.indices, model.device)
    with phase("evaluating the network", model.device):
        for index in order.indices:
            started = time.perf_counter()
            row = np.array(xs[index])
            x = torch.from_numpy(row).to(model.device)
            counts = np.zeros(model.graph.num_classes + 1, np.int64)
            for number in range(chunks(splitting.period)) if part is None else range(part["first"], part["stop"]):
                votes = known.get((index, number))
                if votes is None:
                    votes = count_offsets(model.network(), x, number=number, **call).tolist()
                    emit(ChunkCounts(index, STAGE, number, votes))
                counts += votes
            if part is not None:
                continue
            found = splitting.certificate(counts)
            steps = None if found.radius is None else round(found.radius * 255 / (high - low))
            detail: Json = {"counts": list(found.counts), "n": found.n, "steps": steps, "noise": splitting.name}
            detail |= asdict(execution) | {"clean_prediction": clean[index]}
            detail["seconds"] = time.perf_counter() - started
            if index in order.cross_check and found.prediction is not None and steps is not None:
                claim: Json = {"prediction": found.prediction, "steps": steps, "logits": model.network(soft=True)}
                attack = partial(attack_splitting, stepping(model.network()), x, **claim, **call)
                detail["attack"] = attacked(row, attack)
            emit(result(index, ys, found.prediction, found.radius, found.abstained, detail))
