"""Small pure-ASGI layers around everything."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import MOST_TEXT, Refusal
from models.problems import Problem

JSON_LIMIT = 2**20  # bytes of a body that is not an upload


class HeadAsGet:
    """HEAD is answered like GET (RFC 9110, 9.3.2); the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send)


class PlainBody:
    """A body in a content coding (gzip, ...) is refused as soon as someone reads it (RFC 9110, 8.4): an upload is kept
    as its bytes came."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        codings = ", ".join(Headers(scope=scope).getlist("content-encoding")) if scope["type"] == "http" else ""

        async def refused() -> Message:
            raise Refusal(
                Problem.UNSUPPORTED_ENCODING,
                f"Content-Encoding says {codings[:MOST_TEXT]!r}",
                headers={"Accept-Encoding": "identity"},
            )

        coded = codings.strip().lower() not in ("", "identity")
        await self.app(scope, refused if coded else receive, send)


class BodyLimit:
    """A body over ``JSON_LIMIT`` is refused as soon as someone reads it, unless its path is in ``streamed``."""

    def __init__(self, app: ASGIApp, *, streamed: frozenset[str]) -> None:
        self.app = app
        self.streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.streamed:
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive() if int(declared) <= JSON_LIMIT else {"type": "http.request", "body": b""}
            arrived += len(message.get("body", b""))
            if max(arrived, int(declared)) > JSON_LIMIT:
                raise Refusal(Problem.REQUEST_TOO_LARGE, f"a JSON body has at most {JSON_LIMIT} bytes")
            return message

        await self.app(scope, counted, send)
