"""News of what has ended, for requests that wait for it: the id of a row, published by Redis where that is the broker.

News that are lost, or that another broker does not carry, lose nothing: who waits looks from time to time.
"""

import logging
import time
from collections.abc import Callable

import redis
from redis.exceptions import RedisError

from models.settings import Settings

log = logging.getLogger(__name__)

CHANNEL = "radii.ended"
QUIET = 2.0  # seconds in which nothing is told after a failure
CONNECT_SECONDS = 2.0

Tell = Callable[[str], None]


def untold(row_id: str) -> None:
    """News that nobody hears."""


def redis_url(settings: Settings) -> str | None:
    """The broker as the client of Redis calls it; None where it is another one."""
    scheme, _, rest = settings.broker.partition("://")
    known = {"redis": "redis", "rediss": "rediss", "redis+socket": "unix"}
    return f"{known[scheme]}://{rest}" if scheme in known else None


def teller(settings: Settings) -> Tell:
    """Publishes that a row has ended."""
    url = redis_url(settings)
    if url is None:
        return untold
    client = redis.Redis.from_url(url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS)
    quiet_until = 0.0

    def tell(row_id: str) -> None:
        nonlocal quiet_until
        if time.monotonic() < quiet_until:
            return
        try:
            client.publish(CHANNEL, row_id)
        except (RedisError, OSError) as error:
            quiet_until = time.monotonic() + QUIET
            log.debug("could not tell that %s has ended (%s)", row_id, error)

    return tell
