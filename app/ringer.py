"""Bells rung, and news told, on a thread of their own: a slow broker, or thousands of shards, keep no request
waiting."""

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread

from models.bell import Bell, Ring
from models.news import Tell, untold


class Ringer:
    """A ``Ring`` that returns at once; ``ring`` is called later, in order, on one thread. ``tell`` of it is the same of
    a ``Tell``; ``told`` is called at once, of news of this process."""

    def __init__(self, ring: Ring, tell: Tell = untold) -> None:
        self._ring, self._tell = ring, tell
        self.told: Tell = untold
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="ringer", daemon=True)
        self._thread.start()

    def __call__(self, bell: Bell) -> None:
        self._calls.put(partial(self._ring, bell))

    def tell(self, row_id: str) -> None:
        """News of a row that has ended."""
        self.told(row_id)
        self._calls.put(partial(self._tell, row_id))

    def close(self) -> None:
        """Ring what is left, for five seconds at most. (The sweeper rings for the rest.)"""
        self._calls.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while call := self._calls.get():
            call()
