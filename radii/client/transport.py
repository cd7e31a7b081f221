"""One request: its key, its retries, and the exception that a bad answer becomes."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from radii.client.errors import Interrupted, ProblemError, Unreachable

log = logging.getLogger("radii.client")

PATIENCE = 600.0  # seconds in which a service is back: a machine starts again in a few minutes
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0  # seconds between tries, where the service doesn't say
LONGEST_ASKED = 60.0  # seconds that it may ask for
QUIET = 1.0  # seconds of trouble that are not worth a word
AWAY = {502, 503, 504}  # also of a proxy whose service is away

OnTrouble = Callable[[str], None]


class Transport:
    """Sends requests. For ``patience`` seconds, with growing pauses, it sends again what is safe to send again:
    whatever was answered 503 or did not get through at all, and where the connection broke what may come twice: a GET,
    or a request that says so (``again``). Not before somebody has ever answered: then the URL may be wrong.

    ``on_trouble`` hears of it once a trouble; by default it is a warning of the logger ``radii.client``.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        transport: httpx.BaseTransport | None = None,
        *,
        patience: float = PATIENCE,
        on_trouble: OnTrouble = log.warning,
    ) -> None:
        self.url = url
        self.patience = patience
        self.on_trouble = on_trouble
        self._answered = False
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(60.0, connect=5.0),
            transport=transport,
            trust_env=not _is_loopback(url),  # a proxy can't reach this machine's own address
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def json(self, method: str, path: str, **request: Any) -> Any:
        """The JSON that ``path`` answers. Raises ``ProblemError`` and ``Unreachable``."""
        return self.answer(method, path, **request).json()

    def answer(self, method: str, path: str, *, patience: float | None = None, **request: Any) -> httpx.Response:
        """The whole answer (2xx or 304). ``content`` may be a function that makes the body anew for every try;
        ``patience`` (seconds) is for this request alone."""
        trouble = _Trouble(self, patience)
        while True:
            try:
                with self.stream(method, path, trouble=trouble, **request) as response:
                    response.read()
                return response
            except Interrupted as error:
                if not self._answered or (method != "GET" and not request.get("again")):
                    raise
                trouble.endure(error)

    @contextmanager
    def stream(
        self, method: str, path: str, *, again: bool = False, trouble: _Trouble | None = None, **request: Any
    ) -> Iterator[httpx.Response]:
        """The answer (2xx or 304), its body still to be read. Raises ``Interrupted`` where that breaks off."""
        response = self._open(method, path, again or method == "GET", trouble or _Trouble(self), request)
        try:
            yield response
        except httpx.TransportError as error:
            raise Interrupted(self.url, f"broke off its answer ({error})") from error
        finally:
            response.close()

    def _open(
        self, method: str, path: str, again: bool, trouble: _Trouble, request: Mapping[str, Any]
    ) -> httpx.Response:
        while True:
            body = request.get("content")
            built = self._http.build_request(method, path, **{**request, "content": body() if callable(body) else body})
            try:
                response = self._http.send(built, stream=True)
            except httpx.TransportError as error:
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                away = (Unreachable if unsent else Interrupted)(self.url, f"does not answer ({error})")
                if not self._answered or not (again or unsent):
                    raise away from error
                trouble.endure(away)
            else:
                known, self._answered = self._answered, self._answered or response.status_code not in (502, 504)
                if response.status_code != 503 and not (response.status_code in AWAY and known and again):
                    return _checked(response)
                trouble.endure(_problem(response), asked=retry_after(response, default=0.0))


class _Trouble:
    """The time since a request first failed, and how long to wait before the next try."""

    def __init__(self, transport: Transport, patience: float | None = None) -> None:
        self._transport = transport
        self._patience = transport.patience if patience is None else patience
        self._since: float | None = None
        self._pause = FIRST_PAUSE
        self._said = False

    def endure(self, error: Unreachable | ProblemError, *, asked: float = 0.0) -> None:
        """Wait before another try: ``asked`` seconds or more. Raises ``error`` if patience is over."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left = self._since + self._patience - now
        if left <= 0:
            raise error
        pause = max(self._pause, min(asked, LONGEST_ASKED))
        if not self._said and (now - self._since >= QUIET or pause >= QUIET):
            self._said = True
            self._transport.on_trouble(f"{_told(self._transport.url, error)}; trying again for {_in_words(left)}")
        time.sleep(min(pause, left))
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def retry_after(response: httpx.Response, default: float) -> float:
    """Seconds that the answer asks to wait before the next call (RFC 9110, 10.2.3; the form in seconds)."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else default


def _told(url: str, error: Unreachable | ProblemError) -> str:
    if isinstance(error, Unreachable):
        return f"{error.url} {error.what}"
    return f"{url} answers: {': '.join(part.rstrip('.') for part in (error.title, error.detail) if part)}"


def _in_words(seconds: float) -> str:
    return f"{math.ceil(seconds / 60)} min" if seconds > 90 else f"{math.ceil(seconds)} s"


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success or response.status_code == 304:
        return response
    raise _problem(response)


def _problem(response: httpx.Response) -> ProblemError:
    """The problem that the answer is, read to its end and closed."""
    try:
        response.read()
        document = response.json()
    except (httpx.TransportError, json.JSONDecodeError, UnicodeDecodeError):
        document = None
    finally:
        response.close()
    if not isinstance(document, dict) or "title" not in document:  # a proxy, or something that isn't radii at all
        status = f"{response.status_code} {response.reason_phrase}".strip()
        detail = f"{response.request.method} {response.request.url} answered {status}, not as radii would."
        document = {"title": status, "detail": detail, "remedy": "Check the service's URL (RADII_URL)."}
    return ProblemError({"status": response.status_code, **document})


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
