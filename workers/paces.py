"""How long an input takes, as the last jobs told that asked the same of the same networks."""

import json
from collections import OrderedDict

from models.repositories.shards import WorkOrder

MOST = 1000  # questions that are remembered


class Paces:
    """Of one worker, whose runner is warm."""

    def __init__(self) -> None:
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def learn(self, order: WorkOrder, inputs: int, seconds: float) -> None:
        """So many inputs took so long."""
        key = _key(order)
        self._seconds[key] = seconds / inputs
        self._seconds.move_to_end(key)
        if len(self._seconds) > MOST:
            self._seconds.popitem(last=False)

    def seconds(self, order: WorkOrder) -> float | None:
        """How long the order takes, about; None where nobody knows."""
        pace = self._seconds.get(_key(order))
        return None if pace is None else pace * len(order.indices)


def _key(order: WorkOrder) -> str:
    networks = [network and network.digest for network in (order.denoiser, order.model)]
    return json.dumps([networks, order.method], sort_keys=True)
