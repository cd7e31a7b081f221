"""One request: its key, its retries, and the exception that a bad answer becomes."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from radii.client.errors import ProblemError, Unreachable

TRIES = 6  # with the pauses below: some 6 seconds, in which `radii up` has an ended API up again
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds


class Transport:
    """Sends requests. Retries, a few times and with growing pauses, what is safe to send again: anything that was
    answered 503, and a GET whose connection broke (unless nobody has ever answered: then the URL is wrong)."""

    def __init__(self, url: str, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url
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

    def answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The whole answer (2xx or 304). ``content`` may be a function that makes the body anew for every try."""
        with self.stream(method, path, **request) as response:
            response.read()
        return response

    @contextmanager
    def stream(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        """The answer (2xx or 304), its body still to be read."""
        response = self._open(method, path, request)
        try:
            yield response
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} broke off its answer ({error}). Is the service up? `radii up`") from error
        finally:
            response.close()

    def _open(self, method: str, path: str, request: Mapping[str, Any]) -> httpx.Response:
        pause = FIRST_PAUSE
        for left in reversed(range(TRIES)):
            body = request.get("content")
            built = self._http.build_request(method, path, **{**request, "content": body() if callable(body) else body})
            try:
                response = self._http.send(built, stream=True)
            except httpx.TransportError as error:
                if not left or method != "GET" or not self._answered:
                    raise Unreachable(f"{self.url} does not answer ({error}). Is the service up? `radii up`") from error
            else:
                self._answered = True
                if response.status_code != 503 or not left:
                    return _checked(response)
                pause = max(pause, retry_after(response, default=0.0))
                response.close()
            time.sleep(min(pause, LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last try returns or raises")


def retry_after(response: httpx.Response, default: float) -> float:
    """Seconds that the answer asks to wait before the next call (RFC 9110, 10.2.3; the form in seconds)."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else default


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success or response.status_code == 304:
        return response
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
    raise ProblemError({"status": response.status_code, **document})


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
