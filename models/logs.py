"""Log lines of every process, as text for people or as JSON for a collector (``RADII_LOG_FORMAT``). Each names what it
is about: a request of the API, an attempt of a worker (``Claim.log_id``), and the trace where there is one.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

TEXT = "%(asctime)s %(levelname)s %(name)s: %(about)s%(message)s"
CHATTER = ("celery.worker.strategy", "celery.app.trace")  # about messages, which name no row
SERVERS = ("uvicorn", "uvicorn.error")

_attempt = ""  # of this process, which works on one row at a time; its threads are about that row too
request_id: ContextVar[str] = ContextVar("request_id", default="")


class _About(logging.Filter):
    """Gives each record ``about``, for text, and ``fields``, for JSON."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = request_id.get()
        said = _attempt or (f"request {request}" if request else "")
        record.about = f"[{said}] " if said else ""
        about = {"request": request} if request else {}
        record.fields = about | _of_attempt() | _of_trace() | getattr(record, "fields", {})
        return True


def _of_attempt() -> dict[str, str]:
    job, *row, _fence = _attempt.split("/") if _attempt else ("", "")
    shard = {"shard": row[0]} if row else {}
    return {"attempt": _attempt, "job": job, **shard} if _attempt else {}


def _of_trace() -> dict[str, str]:
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"trace_id": format_trace_id(span.trace_id), "span_id": format_span_id(span.span_id)}


class Json(logging.Formatter):
    """A line of JSON: time (UTC), level, logger, message, process; ``request``, or ``attempt``, ``job`` and ``shard``;
    what a line of one kind has besides; and the traceback as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, form: str) -> None:
    """Have this process write its log to standard error in that form, from ``level`` on; whatever library writes it."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if form == "json" else logging.Formatter(TEXT))
    handler.addFilter(_About())
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.WARNING)
    pool = logging.getLogger("multiprocessing")  # billiard's, which lets nothing through to the root
    pool.handlers, pool.propagate = [handler], False
    pool.setLevel(logging.WARNING)
    for name in SERVERS:  # they come with handlers of their own
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
    access = logging.getLogger("uvicorn.access")  # app.observed has a better line for each request
    access.handlers.clear()
    access.propagate = False
    if form == "json":
        sys.excepthook = lambda *error: logging.getLogger("radii").critical("ended", exc_info=error)


def of_environment() -> str:
    """The form that a process without settings is to write in: that of the worker that started it."""
    return os.environ.get("LOG_FORMAT", "text")


@contextmanager
def about(log_id: str) -> Iterator[None]:
    """Lines written in the block, by whichever thread of this process, are about that attempt."""
    global _attempt
    before, _attempt = _attempt, log_id
    try:
        yield
    finally:
        _attempt = before
