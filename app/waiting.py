"""How one request may wait until what it asks for has ended: ``Prefer: wait=N`` (RFC 7240)."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool

LONGEST_WAIT = 60  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between looks
WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


def _wanted(
    request: Request,
    _prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description=f"`wait=N` waits up to N seconds, {LONGEST_WAIT} at most, until `ended` is true (RFC 7240).",
            examples=["wait=10"],
        ),
    ] = None,
) -> int | None:
    """Seconds that the client prefers to wait; a preference that can't be read is none."""
    found = WAIT.search(", ".join(request.headers.getlist("prefer")))
    return min(int(found[1]), LONGEST_WAIT) if found else None


Wait = Annotated[int | None, Depends(_wanted)]


class Lasting(Protocol):
    """The representation of what takes time."""

    ended: bool


Seen = TypeVar("Seen", bound=Lasting)
Look = Callable[[], tuple[Seen, dict[str, str]]]  # the representation as it is now, and headers that go with it


async def seen(request: Request, wait: int | None, look: Look[Seen]) -> tuple[Seen, dict[str, str]]:
    """What ``look`` sees once that has ended, or after ``wait`` seconds (None: the client has no preference)."""
    deadline, pause = time.monotonic() + (wait or 0), FIRST_PAUSE
    out, headers = await run_in_threadpool(look)
    with suppress(asyncio.CancelledError):  # the server ends: what is known so far is the answer
        while not out.ended and (left := deadline - time.monotonic()) > 0:
            if await request.is_disconnected():
                break
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
            out, headers = await run_in_threadpool(look)
    return out, headers if wait is None else headers | {"Preference-Applied": f"wait={wait}"}
