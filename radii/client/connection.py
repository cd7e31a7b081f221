"""A connection to the service: where it is, by what key, and one call."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from radii.client.errors import ProblemError
from radii.client.transport import PATIENCE, OnTrouble, Transport

Json = dict[str, Any]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR = "~/.radii"
COLLECTIONS = {
    "upl": "uploads",
    "mdl": "models",
    "dat": "datasets",
    "cert": "certifications",
    "bat": "batches",
    "key": "keys",
}


class Connection:
    """A connection to the service. Every call raises ``ProblemError`` and ``Unreachable``.

    ``url``: the argument, else RADII_URL, else this machine's port 8000. ``key``: the argument, else RADII_API_KEY,
    else the file api-key that `radii up` wrote in the data folder (RADII_DATA_DIR, else ~/.radii). ``patience``: the
    argument, else RADII_PATIENCE, else 600: for so many seconds a service that has answered before, and is restarting
    or busy, is tried again; ``on_trouble`` hears of it (by default the log, as a warning).
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: float | None = None,
        on_trouble: OnTrouble | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        default = (os.environ.get("RADII_URL") or DEFAULT_URL).rstrip("/")
        self.url = url.rstrip("/") if url else default
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the service's URL is {self.url!r} (--url, or RADII_URL); give http://... or https://...")
        # What the commands that are named to the user need beside their arguments, to reach the same service.
        self.at = "" if self.url == default else f" --url {shlex.quote(self.url)}"
        key = key or os.environ.get("RADII_API_KEY") or _kept_key()
        patience = _patience() if patience is None else patience
        self._transport = Transport(self.url, key, transport, patience=patience)
        if on_trouble is not None:
            self.on_trouble = on_trouble

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def on_trouble(self) -> OnTrouble:
        """Hears, once a trouble, that the service does not answer and is tried again."""
        return self._transport.on_trouble

    @on_trouble.setter
    def on_trouble(self, hear: OnTrouble) -> None:
        self._transport.on_trouble = hear

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    def _object(self, method: str, path: str, **request: Any) -> Json:
        document = self._transport.json(method, path, **request)
        if not isinstance(document, dict):
            raise ProblemError({"title": "Not an answer of radii", "detail": f"{method} {self.url}{path}"})
        return document


def _patience() -> float:
    text = os.environ.get("RADII_PATIENCE") or str(PATIENCE)
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):
        raise ValueError(f"RADII_PATIENCE is {text!r}; give seconds, e.g. 600")
    return float(text)


def _kept_key() -> str | None:
    folder = Path(os.environ.get("RADII_DATA_DIR") or DEFAULT_DATA_DIR).expanduser()
    try:
        return (folder / "api-key").read_text().strip() or None
    except OSError:
        return None


def path_of(resource_id: str) -> str:
    """The path of a resource. Raises ``ValueError``."""
    collection = COLLECTIONS.get(resource_id.partition("_")[0])
    if collection is None or not resource_id.isascii() or not resource_id.replace("_", "").isalnum():
        known = ", ".join(f"{prefix}_..." for prefix in COLLECTIONS)
        raise ValueError(f"{resource_id!r} is no id; ids look like {known}")
    return f"/v1/{collection}/{resource_id}"
