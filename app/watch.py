"""Wakes requests that wait for a row to end: by news where Redis carries them, and by one look for all of them."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import redis.asyncio
from anyio import CapacityLimiter, to_thread
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from models.news import CHANNEL, CONNECT_SECONDS
from models.repositories.marks import Waited
from models.storage import StorageFull

log = logging.getLogger(__name__)

PAUSE = 0.1  # seconds between looks where no news come
RARE_PAUSE = 0.5  # where they do, for those that are lost
AGAIN_SECONDS = 1.0  # between two tries to hear news
MOST_LOOKS = 4  # at a time: each takes this process's time, which polls that find nothing new have little need of

T = TypeVar("T")
Ended = Callable[[Mapping[Waited, Sequence[str]]], list[str]]


class Watch:
    """Of one process, used by its event loop alone."""

    def __init__(self, ended: Ended, url: str | None) -> None:
        self._ended, self._url = ended, url
        self._waiting: dict[str, tuple[Waited, list[asyncio.Event]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hears = False
        self._looks = CapacityLimiter(MOST_LOOKS)

    async def look(self, look: Callable[[], T]) -> T:
        """What ``look`` returns, on a thread; few at a time."""
        return await to_thread.run_sync(look, limiter=self._looks)

    @contextmanager
    def waiting(self, table: Waited, row_id: str) -> Iterator[asyncio.Event]:
        """Set when the row may have ended."""
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        _, events = self._waiting.setdefault(row_id, (table, []))
        events.append(event)
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look())
        try:
            yield event
        finally:
            events.remove(event)
            if not events:
                self._waiting.pop(row_id, None)

    def wake(self, row_id: str) -> None:
        """Whoever waits for that row looks at it; called by any thread."""
        if self._loop is not None and row_id in self._waiting:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._set, row_id)

    def _set(self, row_id: str) -> None:
        for event in self._waiting.get(row_id, (None, []))[1]:
            event.set()

    async def _look(self) -> None:
        """As long as anybody waits: one read for all."""
        while True:
            await asyncio.sleep(RARE_PAUSE if self._hears else PAUSE)
            if not self._waiting:
                return
            waited: dict[Waited, list[str]] = {}
            for row_id, (table, _) in self._waiting.items():
                waited.setdefault(table, []).append(row_id)
            with suppress(SQLAlchemyError, StorageFull):  # away for a while
                for row_id in await run_in_threadpool(self._ended, waited):
                    self._set(row_id)

    async def listen(self) -> None:
        """Hear news until this is cancelled."""
        while self._url is not None:
            try:
                async with (
                    redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=CONNECT_SECONDS) as client,
                    client.pubsub(ignore_subscribe_messages=True) as heard,
                ):
                    await heard.subscribe(CHANNEL)
                    self._hears = True
                    async for message in heard.listen():
                        self._set(message["data"].decode())
            except (RedisError, OSError) as error:
                log.debug("hears no news (%s)", error)
            finally:
                self._hears = False
            await asyncio.sleep(AGAIN_SECONDS)
