"""How each kind of method computes a shard: one module a kind, of the kind's name, with a function ``compute``."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch

from radii.methods import Method
from radii.smoothing import Noise
from workers.messages import Order
from workers.runner.execution import Ask
from workers.runner.loaded_model import Emit, LoadedModel


@dataclass(frozen=True)
class Work:
    """A shard to compute, and all that is at hand for it."""

    model: LoadedModel
    order: Order
    emit: Emit
    """Takes every chunk as soon as it is counted, a report, and a result of each input."""
    ask: Ask
    test: Callable[[Noise, torch.device], None]
    """Raises where the noise of a device is not to be trusted."""
    inputs_per_batch: int | None = None
    """As of :class:`workers.runner.execution.Runs`."""


def compute(method: Method, work: Work) -> None:
    """Emit all that the shard's inputs come to by this method; of its kind's module."""
    import_module(f"{__name__}.{method.kind}").compute(method, work)
