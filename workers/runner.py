"""The child that computes: ``python -m workers.runner``. It alone imports torch.

Orders come as JSON lines on stdin, events leave as JSON lines on what was stdout: any number of ``{"chunk": ...}``,
``{"result": ...}`` and ``{"report": ...}``, then one ``{"done": true}`` or ``{"error": problem}``. Whatever native code
prints goes to stderr. It stays warm for the next order, leaves when none comes for a while, and dies with its
supervisor.
"""

import json
import logging
import os
import sys
import threading
from queue import Empty, SimpleQueue
from typing import IO, Any

from workers.confine import die_with_parent

log = logging.getLogger(__name__)

IDLE_SECONDS = 120.0  # then memory, and that of a GPU, goes back; starting again takes some three seconds


def read_orders(orders: SimpleQueue[Any]) -> None:
    """Take orders until stdin ends: then the supervisor is gone, and with it the reason to go on."""
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    os._exit(0)


def serve(orders: SimpleQueue[Any], events: IO[str]) -> None:
    """Work on orders until none comes."""
    from workers.compute import Bench  # torch: seconds, in which orders are already read

    def emit(kind: str, value: Any) -> None:
        events.write(json.dumps({kind: value}, allow_nan=False) + "\n")

    def ask(proposal: Any) -> Any:
        emit("execution", proposal)
        return orders.get()

    bench = Bench()
    while True:
        try:
            order = orders.get(timeout=IDLE_SECONDS)
        except Empty:
            return
        problem = bench.work(order, emit, ask)
        emit(*(("error", problem) if problem else ("done", True)))


def main() -> None:
    die_with_parent()
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=read_orders, args=(orders,), daemon=True).start()
    try:
        serve(orders, events)
    except Exception:
        log.exception("ended")
        os._exit(1)  # a GPU whose state is lost may hold up an orderly end; the supervisor tries the order again


if __name__ == "__main__":
    main()
