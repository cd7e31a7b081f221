"""What is kept of every request: an id in its answer, a line in the log, and figures by its route."""

import logging
import secrets
import time
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import answer
from app.metrics import IN_PROGRESS, REQUEST_SECONDS
from models.logs import request_id
from models.problems import Problem

log = logging.getLogger(__name__)

UNMATCHED = "none"  # of a path that is none of ours, and may be anything
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ROUTINE = frozenset({"/livez", "/readyz", "/metrics"})  # asked by machines every few seconds


@dataclass
class Seen:
    """What becomes known of a request while it is answered; in ``scope["radii"]``."""

    route: str = UNMATCHED  # the template, such as /v1/models/{model_id}: never the path
    key: str | None = None  # the name of the API key
    status: int = 500


class Observed:
    """Every answer carries ``X-Request-Id``; a failure that nobody foresaw is logged under it and answered with 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, begun, seen, started = secrets.token_hex(8), time.perf_counter(), Seen(), False
        method = scope["method"] if scope["method"] in METHODS else "other"
        scope["radii"] = seen
        request_id.set(name)

        async def tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                seen.status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        IN_PROGRESS.inc()
        try:
            await self.app(scope, receive, tagged)
        except Exception:
            seen.status = 500
            log.exception("request %s failed: %s %.300r", name, scope["method"], scope["path"])
            if started:
                raise  # half an answer is out: only closing the connection tells the client
            problem = answer(Problem.INTERNAL_ERROR, f"request {name} failed; the log has the details")
            await problem(scope, receive, tagged)
        finally:
            IN_PROGRESS.dec()
            self._tell(method, seen, time.perf_counter() - begun)

    def _tell(self, method: str, seen: Seen, seconds: float) -> None:
        REQUEST_SECONDS.labels(method, seen.route, str(seen.status)).observe(seconds)
        level = logging.DEBUG if seen.route in ROUTINE and seen.status < 400 else logging.INFO
        said = {"key": seen.key, "method": method, "route": seen.route, "status": seen.status}
        fields = {**said, "seconds": round(seconds, 6)}
        key = "no key" if seen.key is None else f"key {seen.key!r}"
        line = f"{method} {seen.route} {seen.status} in {seconds:.3f} s, {key}"
        log.log(level, "%s", line, extra={"fields": fields})


class Routed:
    """The innermost layer: once the router has found a route, the request is known by it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            seen, route = scope.get("radii"), scope.get("route")
            if seen is not None and route is not None:
                seen.route = scope["app"].state.templates.get(id(route), UNMATCHED)


def templates(app: FastAPI) -> dict[int, str]:
    """The whole path of each route, with the prefixes of the routers around it, by the route's identity."""
    found = list(iter_route_contexts(app.routes))
    return {id(route): one.path or UNMATCHED for one in found for route in (one.route, one.original_route)}
