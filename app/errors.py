"""Exceptions to RFC 9457 problem documents: the one place where that happens."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from models.blobs import BlobsAway
from models.problems import Problem
from models.storage import StorageFull
from radii.methods import KINDS

log = logging.getLogger(__name__)

MOST_ERRORS = 20  # listed in one answer
MOST_TEXT = 300  # characters of what the client sent, or of a message about it, that an answer repeats

# For the OpenAPI document: what any call may answer instead.
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457); its `type` is a page that explains it.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "remedy"],
                    "properties": {
                        "type": {"type": "string", "format": "uri-reference"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "The cause, in this case."},
                        "remedy": {"type": "string", "description": "What to do about it."},
                    },
                    "additionalProperties": True,
                },
                "example": Problem.NOT_FOUND.document("there is no model mdl_0198f3c2d4e57a6b8c9d0e1f2a3b4c5d"),
            }
        },
    }
}


class Refusal(HTTPException):
    """A request is answered with ``problem``; ``detail`` names the cause of this case."""

    def __init__(
        self, problem: Problem, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(problem.status, detail, headers)
        self.problem = problem
        self.extensions = extensions


def answer(problem: Problem, detail: str, headers: Mapping[str, str] | None = None, **extensions: Any) -> Response:
    """The HTTP answer of a problem. ASCII JSON: whatever a client sent can be encoded."""
    body = json.dumps(problem.document(detail, **extensions))
    return Response(body, problem.status, headers, media_type="application/problem+json")


def invalid(message: str, *path: str) -> Refusal:
    """The field at ``path`` of the body fits its schema, and still can't be."""
    return Refusal(Problem.INVALID_REQUEST, message, errors=[{"pointer": pointer(*path), "message": message}])


def pointer(*path: int | str) -> str:
    """The JSON Pointer (RFC 6901) of ``path``, cut short where it is absurdly long."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)[:MOST_TEXT]


def install(app: FastAPI) -> None:
    """Let ``app`` answer every exception with a problem (those nobody foresaw: ``observed.Observed``)."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(StorageFull, _full)
    app.add_exception_handler(BlobsAway, _blobs_away)
    for error in (OperationalError, InterfaceError, NoFreeConnection):
        app.add_exception_handler(error, _database_down)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Refusal):
        return answer(error.problem, error.detail, error.headers, **error.extensions)
    if error.status_code == 404:
        return answer(Problem.NOT_FOUND, f"there is nothing at {request.url.path[:MOST_TEXT]!r}")
    if error.status_code == 405:
        allowed = ", ".join(sorted(_allowed(request)))
        return answer(Problem.METHOD_NOT_ALLOWED, f"this path answers {allowed}", {"Allow": allowed})
    return answer(Problem.MALFORMED_JSON, "the body is not JSON text, or nests too deep")  # FastAPI's own 400


def _allowed(request: Request) -> Iterator[str]:
    """Methods that the path answers. (The router knows those of the first route alone.)"""
    for route in iter_route_contexts(request.app.routes):
        matched = route.matches(request.scope)[0] if route.methods else Match.NONE
        if matched is not Match.NONE:
            yield from route.methods or ()
            if "GET" in (route.methods or ()):
                yield "HEAD"


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if found[0]["type"] == "json_invalid":
        return answer(Problem.MALFORMED_JSON, f"{found[0]['ctx']['error']} at character {found[0]['loc'][-1]}")
    if isinstance(error.body, bytes):
        sent = request.headers.get("content-type", "nothing")[:MOST_TEXT]
        return answer(Problem.UNSUPPORTED_MEDIA_TYPE, f"Content-Type says {sent!r}, not application/json")
    errors = [_described(one["loc"], _in_words(one)) for one in found[:MOST_ERRORS]]
    where = errors[0].get("pointer", errors[0].get("parameter"))
    return answer(Problem.INVALID_REQUEST, f"{where or 'the body'}: {errors[0]['message']}", errors=errors)


def _described(location: tuple[int | str, ...], message: str) -> dict[str, str]:
    """A field (RFC 6901 pointer into the body) or query parameter, and what is wrong with it."""
    message = message.removeprefix("Value error, ")[:MOST_TEXT]
    place, *path = location
    if place != "body":
        return {"parameter": ".".join(str(part) for part in path), "message": message}
    # pydantic puts the kind of a tagged union into the path; the JSON document has no such level
    steps = [part for before, part in zip(_places(path), path, strict=True) if (before, part) not in _TAGS]
    return {"pointer": pointer(*steps), "message": message}


def _places(path: Sequence[int | str]) -> Iterator[int | str | None]:
    """What each part of ``path`` stands in; an entry of a list of methods is a method."""
    place: int | str | None = None
    for part in path:
        yield place
        place = "method" if place == "methods" and isinstance(part, int) else part


def _in_words(error: Any) -> str:
    """What pydantic says, in the words of whoever wrote the request."""
    match error["type"]:
        case "extra_forbidden":
            return "There is no such field here"
        case "union_tag_not_found":
            return f"It has no {error['ctx']['discriminator']}"
        case "union_tag_invalid":
            known, given = error["ctx"]["expected_tags"], error["ctx"]["tag"]
            return f"{error['ctx']['discriminator']} must be one of {known}, and is {given!r}"
    return str(error["msg"])


_TAGS = {("method", kind) for kind in KINDS}


def _gone(_request: Request, _error: Exception) -> Response:
    return answer(Problem.INVALID_REQUEST, "the connection closed before the request was complete")  # nobody reads it


def _full(_request: Request, error: Exception) -> Response:
    log.warning("refused for want of space: %s", error)
    return answer(Problem.STORAGE_FULL, str(error))


def _blobs_away(_request: Request, error: Exception) -> Response:
    log.error("%s", error)
    return answer(Problem.UNAVAILABLE, "the blob store did not answer", {"Retry-After": "5"})


def _database_down(_request: Request, error: Exception) -> Response:
    log.error("the database did not answer: %s", error)
    return answer(Problem.UNAVAILABLE, "the database did not answer", {"Retry-After": "5"})
