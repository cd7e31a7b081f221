"""Bells rung on a thread of their own: a slow broker, or thousands of shards, keep no request waiting."""

from queue import SimpleQueue
from threading import Thread

from models.bell import Bell, Ring


class Ringer:
    """A ``Ring`` that returns at once; ``ring`` is called later, in order, on one thread."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._bells: SimpleQueue[Bell | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="ringer", daemon=True)
        self._thread.start()

    def __call__(self, bell: Bell) -> None:
        self._bells.put(bell)

    def close(self) -> None:
        """Ring what is left, for five seconds at most. (The sweeper rings for the rest.)"""
        self._bells.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while bell := self._bells.get():
            self._ring(bell)
