"""How one request may wait until what it asks for has ended: ``Prefer: wait=N`` (RFC 7240)."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Header, Request

from app.kept import Kept
from app.watch import Watch
from models.repositories.marks import Waited

LONGEST_WAIT = 60  # seconds
WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])', re.IGNORECASE)


async def _wanted(
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


async def seen(watch: Watch, table: Waited, row_id: str, wait: int | None, look: Callable[[], Kept]) -> Kept:
    """What ``look`` sees once the row has ended, or after ``wait`` seconds (None: the client has no preference)."""
    if wait is None:
        return await watch.look(look)
    deadline = time.monotonic() + wait
    with watch.waiting(table, row_id) as woken:
        found = await watch.look(look)
        with suppress(asyncio.CancelledError):  # the server ends: what is known so far is the answer
            while not found.ended and (left := deadline - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), left)
                woken.clear()
                found = await watch.look(look)
    return found._replace(headers=found.headers | {"Preference-Applied": f"wait={wait}"})
