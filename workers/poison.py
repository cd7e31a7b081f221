"""What becomes of a shard whose runner died or hung: amid its inputs it may be theirs, else it is the machine's."""

import logging
from functools import partial

import numpy as np

from models.bell import Bell
from models.repositories import failing
from models.repositories.leases import Claim
from models.repositories.shards import WorkOrder
from workers.causes import Blamed, Lost, given_up
from workers.worker import Worker

log = logging.getLogger(__name__)

OF_NO_INPUT = (
    "starting",
    "loading the model",
    "bounding the network",
    "testing the noise",
    "making ready what runs the samples",
)
"""Phases of a runner, by their first words, in which it has not looked at an input: a test knows of all others."""


def amid_inputs(phase: str) -> bool:
    """Whether a runner in that phase computes something of an input."""
    return not phase.startswith(OF_NO_INPUT)


def blamed(worker: Worker, claim: Claim, order: WorkOrder, lost: Lost) -> Blamed:
    """The shard again, or its halves, or without the one input that it is about. What is next is its certification."""
    most = worker.settings.max_attempts
    cause = worker.signed(claim, lost.document)
    index = worker.write(
        partial(
            failing.died,
            claim=claim,
            cause=cause,
            given_up=given_up(cause, most),
            labels=_labels(worker, order),
            most=most,
        )
    )
    if index is not None:
        log.error("input %d has failed", index)
    return Blamed(lost, Bell("certification", claim.job))


def _labels(worker: Worker, order: WorkOrder) -> dict[int, int]:
    if order.y_blob is None:
        return {}
    y = np.load(worker.blobs.path(order.y_blob), mmap_mode="r", allow_pickle=False)
    return {index: int(y[index]) for index in order.indices}
