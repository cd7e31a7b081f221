"""Waiting for what takes time, and what to say where it goes on without us."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from radii.client.errors import Cancelled, ClientError
from radii.client.transport import Transport, retry_after

Json = dict[str, Any]
OnChange = Callable[[Json], None]

LONGEST_WAIT = 10  # seconds that one request waits
POLL = 1.0  # seconds between looks, where the service doesn't say


def ended(transport: Transport, path: str, *, on_change: OnChange | None, timeout: float | None) -> Json:
    """The document at ``path`` once it has ended. Raises ``TimeoutError``.

    The service does the waiting (``Prefer: wait``), so the end is seen at once; where somebody wants to see every
    change, for as long as it says (``Retry-After``).
    """
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    document: Json = {}
    etag: str | None = None
    first = on_change is not None  # which is shown at once
    step: float = 0 if first else LONGEST_WAIT
    while True:
        request = preferring(int(min(step, max(deadline - time.monotonic(), 0))))
        if etag:
            request.setdefault("headers", {})["If-None-Match"] = etag
        response = transport.answer("GET", path, **request)
        if response.status_code != 304:
            document, etag = response.json(), response.headers.get("ETag")
            if on_change:
                on_change(document)
        if document["ended"]:
            return document
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{document['id']} is still {document['state']} after {timeout:g} seconds")
        asked = retry_after(response, POLL)
        # It did not wait where less than a second is left, or a proxy drops the preference.
        if not first and "Preference-Applied" not in response.headers:
            time.sleep(min(asked, left))
        first = False
        step = max(asked, 1) if on_change else LONGEST_WAIT


def preferring(wait: int) -> Json:
    """The part of a request that lets the service wait so many seconds."""
    return {"headers": {"Prefer": f"wait={wait}"}, "timeout": wait + 60.0} if wait else {}


def command(job_id: str) -> str:
    """The command that follows a certification, or a batch, to its end."""
    return f"radii batch {job_id}" if job_id.startswith("bat_") else f"radii jobs {job_id} --wait"


@contextmanager
def following(job_id: str, at: str = "") -> Iterator[None]:
    """Whatever keeps us from the end of a certification, or of a batch, says how to follow it: it goes on without us.
    ``at``: see ``Client.at``."""
    try:
        yield
    except (ClientError, TimeoutError) as error:
        noun = "batch" if job_id.startswith("bat_") else "certification"
        note = f"The {noun}: {command(job_id)}{at}"
        if not isinstance(error, Cancelled) and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise
