"""Log lines of workers: each names the attempt that it is about, as rows and problems do (``Claim.log_id``)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(attempt)s%(message)s"

_attempt = ""  # of this process, which works on one row at a time; its threads are about that row too


class _About(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.attempt = f"[{_attempt}] " if _attempt else ""
        return True


def configure(level: str) -> None:
    """Have this process write its log to standard error, from ``level`` on. Celery's lines about messages, which
    name no row, are left out unless something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_About())
    logging.basicConfig(level=level, handlers=[handler])
    for chatter in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(chatter).setLevel(logging.WARNING)


@contextmanager
def about(log_id: str) -> Iterator[None]:
    """Lines written in the block are about that attempt."""
    global _attempt
    before, _attempt = _attempt, log_id
    try:
        yield
    finally:
        _attempt = before
